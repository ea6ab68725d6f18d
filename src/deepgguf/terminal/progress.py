"""Progress of a run: rate and time left, on a terminal only, and only if it takes longer than two seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_PATIENCE_SECONDS = 2.0
_REFRESH_SECONDS = 0.2


@contextmanager
def progress_of(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A function that is told of `n` more bytes, from any thread; the display runs in a thread of its own."""
    if not sys.stderr.isatty():
        yield lambda nbytes: None
        return
    done, lock, stop = [0], threading.Lock(), threading.Event()

    def advance(nbytes: int) -> None:
        with lock:
            done[0] += nbytes

    display = threading.Thread(target=_show, args=(total, what, done, stop), name="deepgguf-progress", daemon=True)
    display.start()
    try:
        yield advance
    finally:
        stop.set()
        display.join()


def _show(total: int, what: str, done: list[int], stop: threading.Event) -> None:
    began = time.monotonic()
    if stop.wait(_PATIENCE_SECONDS):
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Speed

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), TaskProgressColumn(), DownloadColumn(), Speed())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        progress.tasks[0].start_time = began
        while not stop.wait(_REFRESH_SECONDS):
            progress.update(task, completed=done[0], total=max(total, done[0]))  # what is sent counts once more
