import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from executor_claims import ExecutorClaims

from deepgguf.executors.buffers import Buffers
from deepgguf.executors.executor import Executor
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
