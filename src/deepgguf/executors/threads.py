"""Tasks over the threads of this process: kernels, NumPy, hashing, reads and writes release the GIL."""

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable
from queue import SimpleQueue
from typing import ClassVar, Generic

import msgspec

from deepgguf.choices import check_number
from deepgguf.errors import OutputError, UsageError
from deepgguf.executors.executor import Result, Task

# Results are reported so often at most: to wake whoever consumes them costs the workers a processor.
_BATCH_SECONDS = 0.05
_MOST = 4096


class Threads(msgspec.Struct, frozen=True):
    """`jobs` threads, which start with the first result that is asked for; fewer where the system starts no more.

    `on_failure` is called when a thread has failed, or whoever consumes the results does not want them any more: what
    the other threads wait for may be ended then. UsageError for fewer than one or more than 4,096.
    """

    jobs: int
    on_failure: Callable[[], None] | None = None
    shares_files: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Nobody would do the work of zero threads, and no system starts a million."""
        if isinstance(self.jobs, int) and self.jobs > _MOST:
            raise UsageError("`jobs`", f"must be at most {_MOST}")
        check_number("jobs", self.jobs)

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        """See `Executor.map`; what was finished before a worker failed is yielded, then the error is raised.

        OutputError if the system starts no thread at all.
        """
        crew = _Crew(work, tasks, self.on_failure or _nothing)
        try:
            _start(crew, self.jobs)
            while not isinstance(report := crew.reports.get(), _End):
                yield from report
        except BaseException:
            crew.on_failure()
            raise
        finally:
            crew.end()
        if crew.failures:
            raise crew.failures[0]


def _nothing() -> None:
    """What nobody waits for need not be ended."""


def _start(crew: "_Crew[Task, Result]", jobs: int) -> None:
    for number in range(jobs):
        try:
            threading.Thread(target=crew.run, name=f"deepgguf-{number}", daemon=True).start()
        except RuntimeError as error:
            if not number:
                advice = "end other programs, or allow more processes (`ulimit -u`), then try again"
                raise OutputError("threads", f"the system starts none: {error}", advice) from None
            return


class _End:
    """Reported when nobody is at work any more."""


class _Crew(Generic[Task, Result]):
    """What the threads of one `map` share: the tasks left, and the queue in which they report.

    A thread counts itself when it begins, for if a signal handler raises in `Thread.start`, the thread may run or not.
    One that begins after `stop` does nothing.
    """

    def __init__(
        self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task], on_failure: Callable[[], None]
    ) -> None:
        self.on_failure = on_failure
        self._work, self._tasks, self._lock = work, iter(tasks), threading.Lock()
        self._at_work = 0
        self.reports: SimpleQueue[list[Result] | _End] = SimpleQueue()
        self.stop, self.idle = threading.Event(), threading.Event()
        self.idle.set()
        self.failures: list[BaseException] = []

    def run(self) -> None:
        """Carries out tasks until none is left, one has failed, or somebody says stop."""
        with self._lock:
            self._at_work += 1
            self.idle.clear()
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
            self.on_failure()
        finally:
            with self._lock:
                self._at_work -= 1
                if not self._at_work:
                    self.reports.put(_End())
                    self.idle.set()

    def end(self) -> None:
        """Waits until nobody is at work, however often a signal handler raises meanwhile; then raises the last.

        Whoever used the files that the threads use may close them afterwards. Not by `join`: if a signal handler raises
        there, Python 3.11 and 3.12 take the thread for ended while it runs on.
        """
        raised: BaseException | None = None
        while not (self.stop.is_set() and self.idle.is_set()):
            try:
                self.stop.set()
                self.idle.wait()
            except BaseException as error:
                raised = error
        if raised:
            raise raised

    def _carry_out(self, task: Task) -> None:
        batch: list[Result] = []
        due = time.monotonic() + _BATCH_SECONDS
        try:
            for result in self._work(task):
                batch.append(result)
                if self.stop.is_set():
                    return
                if time.monotonic() > due:
                    self.reports.put(batch)
                    batch, due = [], time.monotonic() + _BATCH_SECONDS
        finally:
            self.reports.put(batch)


def available_processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
