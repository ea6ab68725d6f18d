"""Progress of a run: rate and time left, on a terminal only, and only if it takes longer than two seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deepgguf.executors.executor import Cluster, Executor

_PATIENCE_SECONDS = 2.0
_REFRESH_SECONDS = 0.2


@contextmanager
def progress_of(total: int, what: str, executor: Executor | None = None) -> Iterator[Callable[[int], None]]:
    """A function that is told of `n` more bytes, from any thread; the display runs in a thread of its own.

    It shows how many results each node of a cluster has made.
    """
    if not sys.stderr.isatty():
        yield lambda nbytes: None
        return
    done, lock, stop = [0], threading.Lock(), threading.Event()

    def advance(nbytes: int) -> None:
        with lock:
            done[0] += nbytes

    cluster = executor if isinstance(executor, Cluster) else None
    arguments = (total, what, cluster, done, stop)
    display = threading.Thread(target=_show, args=arguments, name="deepgguf-progress", daemon=True)
    display.start()
    try:
        yield advance
    finally:
        stop.set()
        display.join()


def _show(total: int, what: str, cluster: Cluster | None, done: list[int], stop: threading.Event) -> None:
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
            made = cluster.done if cluster else {}
            shown = f"{what} ({', '.join(f'{node} {n:,}' for node, n in sorted(made.items()))})" if made else what
            progress.update(task, description=shown, completed=done[0], total=max(total, done[0]))  # sent: once more
