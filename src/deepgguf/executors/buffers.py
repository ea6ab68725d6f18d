"""Memory that a worker uses again for every piece: fresh pages would cost as much as the work itself."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

_Said = TypeVar("_Said")


class Buffers:
    """Named buffers of whichever thread asks, grown to the largest size that it has asked for."""

    def __init__(self) -> None:
        self._held: threading.local | SimpleNamespace = threading.local()
        self._filled: threading.local | SimpleNamespace = threading.local()

    def take(self, name: str, count: int, dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """`count` elements of this thread's buffer `name`; what it held before is lost."""
        nbytes = count * np.dtype(dtype).itemsize
        self._filled.__dict__.pop(name, None)
        held: dict[str, NDArray[np.uint8]] = self._held.__dict__
        if name not in held or held[name].size < nbytes:
            held.pop(name, None)  # before there is a larger one
            held[name] = np.empty(nbytes, np.uint8)
        buffer = held[name]
        return buffer[:nbytes].view(dtype)

    def filled(
        self, name: str, count: int, content: object, fill: Callable[[NDArray[np.uint8]], None]
    ) -> NDArray[np.uint8]:
        """`count` bytes of this thread's buffer `name` that `fill` has filled, unless `content` is what they hold."""
        return self.made(name, count, content, fill)[0]

    def made(
        self, name: str, count: int, content: object, make: Callable[[NDArray[np.uint8]], _Said]
    ) -> tuple[NDArray[np.uint8], _Said]:
        """As `filled`, with what `make` said when it made that."""
        made: dict[str, tuple[object, _Said]] = self._filled.__dict__
        if name not in made or made[name][0] != content:
            said = make(self.take(name, count))
            made[name] = content, said
        held: dict[str, NDArray[np.uint8]] = self._held.__dict__
        return held[name][:count], made[name][1]

    def __reduce__(self) -> tuple[type["Buffers"], tuple[()]]:
        """Sent elsewhere, it arrives empty."""
        return Buffers, ()


class LentBuffers(Buffers):
    """Named buffers of whoever has them, one thread after the other."""

    def __init__(self) -> None:
        self._held, self._filled = SimpleNamespace(), SimpleNamespace()
