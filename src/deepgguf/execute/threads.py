"""Pieces over threads: the kernels, reads and writes let go of the GIL."""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from deepgguf.execute.piece import Buffers

_Task = TypeVar("_Task")
_POLL_SECONDS = 0.1  # how soon a signal is noticed


def run_in_threads(jobs: int, tasks: Iterable[_Task], work: Callable[[_Task, Buffers], None]) -> None:
    """Calls `work` once for every task, in `jobs` threads, each with buffers of its own.

    The first exception stops the others after the piece they are at, and is raised here; so is one that a signal
    handler raises in the calling thread.
    """
    lock, stop, source = threading.Lock(), threading.Event(), iter(tasks)
    failures: list[BaseException] = []

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

    threads = [threading.Thread(target=worker, name=f"deepgguf-{i}", daemon=True) for i in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(_POLL_SECONDS)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
