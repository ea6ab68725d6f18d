import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from executor_claims import ExecutorClaims, squares

from deepgguf.errors import OutputError, UsageError
from deepgguf.executors import threads
from deepgguf.executors.buffers import Buffers
from deepgguf.executors.executor import Executor
from deepgguf.executors.ray import Ray
from deepgguf.executors.threads import Threads


class TestOneThread(ExecutorClaims):
    def executor(self) -> Executor:
        return Threads(1)


class TestSevenThreads(ExecutorClaims):
    def executor(self) -> Executor:
        return Threads(7)


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_no_thread_is_at_work_once_the_results_are_closed(jobs: int) -> None:
    in_hand: set[int] = set()

    def work(task: int) -> Iterator[int]:
        in_hand.add(task)
        time.sleep(0.2 if task > 12 else 0)
        in_hand.remove(task)
        yield task

    with closing(Threads(jobs).map(work, range(100_000))) as results:
        assert any(number == 10 for number in results)
    assert not in_hand


def test_every_result_of_every_task_comes_once() -> None:
    tasks = [range(start, start + 10) for start in range(0, 1000, 10)]
    assert Counter(Threads(3).map(squares, tasks)) == Counter(number**2 for number in range(1000))


@pytest.mark.parametrize("jobs", [0, -1])
def test_fewer_than_one_thread_is_refused(jobs: int) -> None:
    with pytest.raises(UsageError, match=f"^`jobs` must be at least 1, not {jobs}$"):
        Threads(jobs)


@pytest.mark.parametrize(("jobs", "shown"), [("a", "'a'"), (2.0, "2.0"), (True, "True"), ([4], "a list")])
@pytest.mark.parametrize("kind", [Threads, lambda jobs: Ray(jobs=jobs)], ids=["threads", "ray"])
def test_jobs_that_are_not_a_whole_number_are_refused(kind: Callable[[Any], object], jobs: Any, shown: str) -> None:
    with pytest.raises(UsageError, match=f"^`jobs`: {shown} is not a whole number; give a number from 1$"):
        kind(jobs)


@pytest.mark.parametrize("jobs", [4097, 10**20, 10**5000], ids=["4097", "20 digits", "5000 digits"])
def test_more_threads_than_any_system_has_are_refused(jobs: int) -> None:
    with pytest.raises(UsageError, match="^`jobs` must be at most 4096$"):
        Threads(jobs)


def test_what_was_finished_when_a_worker_failed_is_yielded_first() -> None:
    def work(task: int) -> Iterator[int]:
        yield from (1, 2, 3)
        raise ValueError("three")

    results, found = Threads(1).map(work, [0]), []
    with pytest.raises(ValueError, match="three"):
        for number in results:
            found.append(number)
            while any(thread.name.startswith("deepgguf-") for thread in threading.enumerate()):
                time.sleep(0.001)
    assert found == [1, 2, 3]


def test_a_signal_at_the_last_report_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class InterruptedQueue(SimpleQueue):
        def get(self) -> object:
            report = super().get()
            if not isinstance(report, list):
                raise KeyboardInterrupt
            return report

    monkeypatch.setattr(threads, "SimpleQueue", InterruptedQueue)
    found: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(Threads(1).map(squares, [range(3)]))
    assert found == [0, 1, 4]


def start_at_most(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the system run out of threads."""
    start = threading.Thread.start

    def start_some(thread: threading.Thread) -> None:
        if int(thread.name.removeprefix("deepgguf-")) >= most:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)


def test_threads_that_cannot_be_started_leave_their_work_to_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    start_at_most(2, monkeypatch)
    by_thread: Counter[str] = Counter()
    both = threading.Barrier(2)

    def work(task: int) -> Iterator[int]:
        both.wait()
        by_thread[threading.current_thread().name] += 1
        yield task

    assert sorted(Threads(100).map(work, range(10))) == list(range(10))
    assert by_thread.keys() == {"deepgguf-0", "deepgguf-1"}


def test_a_system_that_starts_no_thread_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    start_at_most(0, monkeypatch)
    with pytest.raises(OutputError, match="^threads: the system starts none: can't start new thread; end other"):
        list(Threads(2).map(squares, [range(3)]))


def test_however_many_signals_come_no_thread_is_at_work_when_the_error_does(monkeypatch: pytest.MonkeyPatch) -> None:
    in_hand: set[int] = set()
    begun = threading.Event()

    def work(task: int) -> Iterator[int]:
        in_hand.add(task)
        begun.set()
        for _ in range(5):
            os.kill(os.getpid(), signal.SIGUSR1)  # wakes the main thread, where the handler runs
            time.sleep(0.02)
        in_hand.remove(task)
        yield task

    def interrupt(number: int, frame: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt

    interrupts: list[int] = []
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(Threads(1).map(work, range(100)))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not in_hand
    assert len(interrupts) > 1


def test_a_buffer_is_used_again_and_grows() -> None:
    buffers = Buffers()
    first = buffers.take("rows", 8)
    first[:] = 7
    assert buffers.take("rows", 4, np.uint16).view(np.uint8).tolist() == [7] * 8
    assert buffers.take("rows", 2).base is buffers.take("rows", 8).base
    assert buffers.take("rows", 100, np.float32).nbytes == 400
    assert not np.shares_memory(buffers.take("rows", 100), buffers.take("out", 100))


def test_no_two_threads_have_a_buffer_in_common() -> None:
    buffers, together, found = Buffers(), threading.Barrier(3), []

    def work(task: int) -> Iterator[int]:
        together.wait()
        found.append(buffers.take("rows", 8))
        yield task

    assert sorted(Threads(3).map(work, range(3))) == [0, 1, 2]
    assert not any(np.shares_memory(found[i], found[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_buffers_sent_elsewhere_arrive_empty() -> None:
    buffers = Buffers()
    buffers.take("rows", 8)[:] = 7
    sent = pickle.loads(pickle.dumps(buffers))
    assert not np.shares_memory(sent.take("rows", 8), buffers.take("rows", 8))


def test_what_the_others_wait_for_is_ended_when_one_fails():
    ended = threading.Event()

    def work(number: int):
        if number == 0:
            raise ValueError
        assert ended.wait(10)
        yield number

    with pytest.raises(ValueError):
        list(Threads(3, ended.set).map(work, range(3)))
    assert ended.is_set()


def test_what_they_wait_for_is_ended_when_nobody_wants_the_results():
    ended = threading.Event()

    def work(number: int):
        yield number
        assert number == 0 or ended.wait(10)

    results = Threads(2, ended.set).map(work, range(2))
    next(results)
    results.close()
    assert ended.is_set()


def test_nothing_is_ended_when_all_goes_well():
    ended = threading.Event()
    assert list(Threads(2, ended.set).map(lambda number: [number], [1])) == [1]
    assert not ended.is_set()
