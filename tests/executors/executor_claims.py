"""What every executor promises; its test inherits this class and says in `executor` how to make one."""

import operator
import os
import pickle
import signal
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from deepgguf.executors.executor import Executor


def squares(numbers: range) -> Iterator[int]:
    return (number**2 for number in numbers)


def fail_at_three(number: int) -> Iterator[int]:
    time.sleep(0.001)
    if number == 3:
        raise ValueError("three")
    yield number


def slowly(number: int) -> Iterator[int]:
    time.sleep(0.01)
    yield number


class ExecutorClaims:
    def executor(self) -> Executor:
        raise NotImplementedError

    def test_every_result_of_every_task_comes(self) -> None:
        tasks = [range(start, start + 10) for start in range(0, 1000, 10)]
        assert set(self.executor().map(squares, tasks)) == {number**2 for number in range(1000)}

    def test_thousands_of_small_tasks_are_carried_out(self) -> None:
        tasks = (range(start, start + 1) for start in range(3000))
        assert set(self.executor().map(squares, tasks)) == {number**2 for number in range(3000)}

    def test_no_task_gives_no_result(self) -> None:
        assert list(self.executor().map(squares, [])) == []

    def test_tasks_are_taken_as_workers_become_free(self) -> None:
        taken: list[int] = []

        def tasks() -> Iterator[int]:
            for number in range(10_000):
                taken.append(number)
                yield number

        with closing(self.executor().map(slowly, tasks())) as results:
            next(results)
        assert len(taken) < 1000

    def test_the_first_error_stops_the_others_and_is_raised(self) -> None:
        found: list[int] = []
        with pytest.raises(ValueError, match="three"):
            for number in self.executor().map(fail_at_three, range(10_000)):
                found.append(number)
        assert len(found) < 1000

    def test_an_error_of_the_tasks_themselves_is_raised(self) -> None:
        def tasks() -> Iterator[range]:
            yield range(3)
            raise KeyError("no more")

        with pytest.raises(KeyError, match="no more"):
            list(self.executor().map(squares, tasks()))

    def test_what_is_raised_where_results_are_consumed_ends_the_work(self) -> None:
        class StoppedError(Exception):
            pass

        def stop(number: int, frame: object) -> None:
            raise StoppedError

        before = signal.signal(signal.SIGUSR1, stop)
        try:
            with pytest.raises(StoppedError), closing(self.executor().map(slowly, range(100_000))) as results:
                for number in results:
                    if number == 20:
                        os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_it_can_be_sent_elsewhere(self) -> None:
        sent = pickle.loads(pickle.dumps(self.executor()))
        assert sorted(sent.map(operator.itemgetter(slice(None)), [[1, 2], [3]])) == [1, 2, 3]
        assert sent.jobs == self.executor().jobs
