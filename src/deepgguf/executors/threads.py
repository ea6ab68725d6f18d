"""Tasks over threads: kernels, NumPy, hashing, reads and writes let go of the GIL."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

_Task = TypeVar("_Task")


class Buffers:
    """A thread's memory: grown to the largest task it has met, and used again for every other."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.uint8]] = {}

    def take(self, name: str, count: int, dtype: DTypeLike = np.uint8) -> NDArray[Any]:
        """`count` elements of the buffer `name`; what it held before is lost."""
        nbytes = count * np.dtype(dtype).itemsize
        held = self._held.get(name)
        if held is None or held.size < nbytes:
            held = self._held[name] = np.empty(nbytes, np.uint8)
        return held[:nbytes].view(dtype)


def run_in_threads(jobs: int, tasks: Iterable[_Task], work: Callable[[_Task, Buffers], None]) -> None:
    """Calls `work` once for every task, in `jobs` threads, each with buffers of its own.

    The first exception stops the others after the task they are at, and is raised here; so is one that a signal
    handler raises in the calling thread.
    """
    lock, stop, source = threading.Lock(), threading.Event(), iter(tasks)
    failures: list[BaseException] = []
    working, idle = [jobs], threading.Event()

    def worker() -> None:
        buffers = Buffers()
        try:
            while not stop.is_set():
                with lock:
                    task = next(source, None)
                if task is None:
                    return
                work(task, buffers)
        except BaseException as error:
            failures.append(error)
            stop.set()
        finally:
            with lock:
                working[0] -= 1
                if not working[0]:
                    idle.set()

    threads = [threading.Thread(target=worker, name=f"deepgguf-{i}", daemon=True) for i in range(jobs)]
    for thread in threads:
        thread.start()
    # Not by `join`: if a signal handler raises there, Python 3.11 and 3.12 take the thread for ended while it runs on.
    try:
        idle.wait()
    finally:
        stop.set()
        idle.wait()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
