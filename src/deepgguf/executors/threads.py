"""Tasks over the threads of this process: kernels, NumPy, hashing, reads and writes release the GIL."""

import os
import threading
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import ClassVar, Generic

import msgspec

from deepgguf.executors.executor import Result, Task


class Threads(msgspec.Struct, frozen=True):
    """`jobs` threads, which start with the first result that is asked for."""

    jobs: int
    shares_files: ClassVar[bool] = True

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        """As `Executor.map` has it."""
        crew = _Crew(work, tasks)
        at_work = self.jobs
        for number in range(self.jobs):
            threading.Thread(target=crew.run, name=f"deepgguf-{number}", daemon=True).start()
        try:
            while at_work:
                report = crew.reports.get()
                if isinstance(report, _Ended):
                    at_work -= 1
                elif not crew.stop.is_set():
                    yield report
        finally:
            # The threads are waited for by what they report, not by `join`: if a signal handler raises there, Python
            # 3.11 and 3.12 take the thread for ended while it runs on.
            crew.stop.set()
            while at_work:
                at_work -= isinstance(crew.reports.get(), _Ended)
        if crew.failures:
            raise crew.failures[0]


class _Ended:
    """What a thread reports last."""


class _Crew(Generic[Task, Result]):
    """What the threads of one `map` share: the tasks left, and the queue in which they report."""

    def __init__(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> None:
        self._work, self._tasks, self._lock = work, iter(tasks), threading.Lock()
        self.reports: SimpleQueue[Result | _Ended] = SimpleQueue()
        self.stop = threading.Event()
        self.failures: list[BaseException] = []

    def run(self) -> None:
        """Carries out tasks until none is left, one has failed, or somebody says stop."""
        try:
            while not self.stop.is_set():
                with self._lock:
                    task = next(self._tasks, self)
                if task is self:
                    return
                self._carry_out(task)  # type: ignore[arg-type]  # `self` is the end, which no task is
        except BaseException as error:
            self.failures.append(error)
            self.stop.set()
        finally:
            self.reports.put(_Ended())

    def _carry_out(self, task: Task) -> None:
        for result in self._work(task):
            self.reports.put(result)
            if self.stop.is_set():
                return


def available_processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
