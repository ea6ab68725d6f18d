"""Memory that a worker uses again for every piece: fresh pages would cost as much as the work itself."""

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Buffers:
    """Named buffers of whichever thread asks, grown to the largest size that it has asked for."""

    def __init__(self) -> None:
        self._held = threading.local()

    def take(self, name: str, count: int, dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """`count` elements of this thread's buffer `name`; what it held before is lost."""
        nbytes = count * np.dtype(dtype).itemsize
        held: dict[str, NDArray[np.uint8]] = self._held.__dict__
        buffer = held.get(name)
        if buffer is None or buffer.size < nbytes:
            buffer = held[name] = np.empty(nbytes, np.uint8)
        return buffer[:nbytes].view(dtype)

    def __reduce__(self) -> tuple[type["Buffers"], tuple[()]]:
        """Sent elsewhere, it arrives empty."""
        return Buffers, ()
