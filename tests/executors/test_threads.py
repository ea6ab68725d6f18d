import os
import signal
import threading
import time
from collections import Counter

import numpy as np
import pytest

from deepgguf.executors.threads import Buffers, run_in_threads

any_number_of_jobs = pytest.mark.parametrize("jobs", [1, 2, 7])


@any_number_of_jobs
def test_every_task_is_done_once(jobs: int) -> None:
    done: list[int] = []
    run_in_threads(jobs, range(100), lambda task, buffers: done.append(task))
    assert Counter(done) == Counter(range(100))


def test_tasks_are_taken_one_at_a_time_as_threads_are_free() -> None:
    taken: list[int] = []

    def tasks():
        for number in range(10):
            taken.append(number)
            yield number

    run_in_threads(1, tasks(), lambda task, buffers: taken == list(range(task + 1)) or pytest.fail(f"{task}: {taken}"))


@any_number_of_jobs
def test_the_first_error_stops_the_others_and_is_raised(jobs: int) -> None:
    begun: list[int] = []

    def work(task: int, buffers: Buffers) -> None:
        begun.append(task)
        if task == 3:
            raise ValueError("three")
        time.sleep(0.001)

    with pytest.raises(ValueError, match="three"):
        run_in_threads(jobs, range(10_000), work)
    assert len(begun) < 1000


@any_number_of_jobs
def test_an_error_of_the_tasks_themselves_is_raised(jobs: int) -> None:
    def tasks():
        yield 1
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        run_in_threads(jobs, tasks(), lambda task, buffers: None)


def test_each_thread_has_buffers_of_its_own() -> None:
    seen: dict[int, set[int]] = {}
    together = threading.Barrier(3)

    def work(task: int, buffers: Buffers) -> None:
        together.wait()
        seen.setdefault(threading.get_ident(), set()).add(id(buffers))

    run_in_threads(3, range(30), work)
    assert len(seen) == 3
    assert sorted(len(found) for found in seen.values()) == [1, 1, 1]
    assert len(set.union(*seen.values())) == 3


@any_number_of_jobs
def test_an_exception_from_a_signal_handler_ends_the_run_after_the_current_tasks(jobs: int) -> None:
    class Stopped(BaseException):
        pass

    def stop(number: int, frame: object) -> None:
        raise Stopped

    in_hand: set[int] = set()

    def work(task: int, buffers: Buffers) -> None:
        in_hand.add(task)
        if task == 20:
            os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.2 if task > 12 else 0)
        in_hand.remove(task)

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(Stopped):
            run_in_threads(jobs, range(100_000), work)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not in_hand


def test_a_buffer_is_reused_and_grows() -> None:
    buffers = Buffers()
    first = buffers.take("rows", 8)
    first[:] = 7
    assert buffers.take("rows", 4, np.uint16).view(np.uint8).tolist() == [7] * 8
    assert buffers.take("rows", 2).base is buffers.take("rows", 8).base
    assert buffers.take("rows", 100, np.float32).nbytes == 400
    assert not np.shares_memory(buffers.take("rows", 100), buffers.take("out", 100))
