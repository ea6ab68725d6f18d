"""Whoever carries out the tasks of a verification, what is not checked is never taken for right."""

import pickle
import resource
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepgguf import compare, verify
from deepgguf.errors import OutputError, UsageError
from deepgguf.executors.executor import Result, Task
from planting import exchange_experts, flip_bit

NAME = "blk.1.ffn_up_exps.weight"


class Here:
    """One task after the other, in this thread."""

    jobs, shares_files = 1, True

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        for task in tasks:
            yield from work(task)


class Dropping(Here):
    """Carries out every task of which `keeps` is true."""

    def __init__(self, keeps: Callable[[Task], bool]) -> None:
        self.keeps = keeps

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        yield from super().map(work, filter(self.keeps, tasks))


class Stopping(Here):
    """Keeps the last result to itself."""

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        yield from list(super().map(work, tasks))[:-1]


class Twice(Here):
    """Does every task twice, the last one first."""

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        yield from super().map(work, [*reversed(list(tasks))] * 2)


class Sending(Here):
    """Sends work and task for every task, as other processes need it."""

    def __init__(self) -> None:
        self.sent: list[int] = []

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        for task in tasks:
            message = pickle.dumps((work, task))
            self.sent.append(len(message))
            there, task_there = pickle.loads(message)
            yield from pickle.loads(pickle.dumps(list(there(task_there))))


def reads_a_shards_header(task: object) -> bool:
    return "Shard" in type(task).__name__


@contextmanager
def open_files(more: int) -> Iterator[None]:
    """Room for so many files besides those that this process has open, other tests' among them."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1 + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("executor", [Dropping(reads_a_shards_header), Stopping()], ids=["all", "last"])
def test_hashes_that_were_not_computed_are_an_error(converted, executor):
    file = converted("v3", manifest=True)
    with pytest.raises(OutputError, match=r"^`executor` left [0-9,]+ of [0-9,]+ bytes unchecked"):
        compare(file, executor=executor)


def test_weights_that_were_not_compared_are_an_error(sample, converted):
    file = converted("v3")
    flip_bit(file, NAME, 0, 0)
    with pytest.raises(OutputError, match="bytes unchecked"):
        compare(file, sample("v3"), executor=Dropping(reads_a_shards_header))


@pytest.mark.parametrize("stored", ["auto", "q8_0"])
def test_a_task_that_is_done_twice_counts_once(sample, converted, stored):
    file = converted("v3", type=stored, manifest=True)
    exchange_experts(file, NAME, 1, 4)
    seen = {}
    for executor in (Here(), Twice()):
        done: list[int] = []
        report = compare(file, sample("v3"), executor=executor, progress=done.append)
        seen[type(executor)] = report.differences, report.files, sum(done)
    assert seen[Twice] == seen[Here]


@pytest.mark.parametrize("with_source", [False, True])
def test_any_number_of_tasks_is_sent_with_few_files_open(sample, converted, with_source):
    file, executor = converted("v3-fp8", type="q4_k_m", manifest=True), Sending()
    with open_files(64):
        assert verify(file, sample("v3-fp8") if with_source else None, executor=executor).differences == ()
    assert len(executor.sent) > 50


def test_what_is_sent_does_not_grow_with_the_model(sample, converted):
    file, executor = converted("v3", manifest=True), Sending()
    compare(file, executor=executor)
    compare(file, sample("v3"), executor=executor)
    assert max(executor.sent) < 2000  # bytes; the header alone has 544 tokens


def test_an_executor_that_does_not_see_the_file_is_refused(sample, converted):
    executor = Here()
    executor.shares_files = False
    with pytest.raises(UsageError, match=r"^`executor`: verify reads the file where the workers are"):
        compare(converted("v3"), sample("v3"), executor=executor)
