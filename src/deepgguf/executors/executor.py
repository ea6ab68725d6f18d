"""The contract of an executor: work that may run anywhere, in any order, and results that come as they are ready."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Protocol, Self, TypeVar, runtime_checkable

Task = TypeVar("Task")
Result = TypeVar("Result")
Progress = Callable[[int], None]
"""Called in the caller's thread with the bytes that are done since its last call."""


@runtime_checkable
class Executor(Protocol):
    """A way to carry out tasks: threads, or an engine for several machines.

    `work`, tasks and results are plain data that can be pickled; no locks or open files are shared with the workers.
    """

    @property
    def jobs(self) -> int:
        """How many tasks are at work at once; `jobs` times a task's memory is needed."""

    @property
    def shares_files(self) -> bool:
        """Whether the workers see this machine's files, and so write pieces to their place themselves.

        An `fsync` by the caller must cover what they wrote. That of another machine's workers, on a network file
        system, it does not cover: a `Cluster` does not share files, and its workers sync what they write themselves.
        """

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        """Yields the results of `work(task)` for every task, in whatever order they are ready.

        A task may be carried out twice (its machine was lost), and its results come twice; who consumes them counts
        them once. Tasks are taken from the iterable as workers become free. The first exception of a worker stops the
        others after the result they are at, and is raised here; so is one that is raised where the results are
        consumed (a signal), and none of the workers is at work any more when this generator has ended.
        """


class Cluster(ABC):
    """An executor whose workers are on several machines, called nodes, each with files of its own."""

    shares_files = False

    @property
    @abstractmethod
    def jobs(self) -> int:
        """See `Executor.jobs`."""

    @abstractmethod
    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        """See `Executor.map`."""

    @abstractmethod
    def for_tasks(self, memory: int, ahead: int) -> Self:
        """The same cluster for tasks of `memory` bytes, each with `ahead` threads that start other tasks meanwhile.

        It has counted nothing yet.
        """

    @abstractmethod
    def everywhere(self, look: Callable[[], Result]) -> Mapping[str, Result]:
        """What `look()` returns on every node that can carry out tasks, by the node's name.

        OutputError if there is none, or one cannot run this version of deepgguf.
        """

    @property
    @abstractmethod
    def again(self) -> Mapping[str, int]:
        """Why tasks were carried out again so far, and how often."""

    @property
    @abstractmethod
    def done(self) -> Mapping[str, int]:
        """How many results have come from each node so far."""
