"""Work over threads; NumPy, hashing and reading let go of the GIL."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

_Task = TypeVar("_Task")
_POLL_SECONDS = 0.1  # how soon a signal is noticed


class Scratch:
    """A thread's memory, grown to the largest task it has met and used again for every other."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def take(self, name: str, count: int, dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """`count` elements under `name`; what the name held before is lost."""
        nbytes = count * np.dtype(dtype).itemsize
        held = self._held.get(name)
        if held is None or held.size < nbytes:
            held = self._held[name] = np.empty(nbytes, np.uint8)
        return held[:nbytes].view(dtype)


def in_threads(jobs: int, tasks: Iterable[_Task], work: Callable[[_Task, Scratch], None]) -> None:
    """Calls `work` for every task in `jobs` threads. The first exception, a signal's too, stops all and is raised."""
    lock, stop, left = threading.Lock(), threading.Event(), iter(tasks)
    failures: list[BaseException] = []

    def worker() -> None:
        scratch = Scratch()
        try:
            while not stop.is_set():
                with lock:
                    task = next(left, None)
                if task is None:
                    return
                work(task, scratch)
        except BaseException as error:
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=worker, name=f"deepgguf-verify-{i}", daemon=True) for i in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(_POLL_SECONDS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
