"""The contracts of where a plan's files go, and of one file on its way there.

`folder.py` is a folder of this machine, `s3/destination.py` an object store. Whatever it is, a final name only ever
holds a whole file, and an interrupted run is resumed to the same bytes.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Protocol

import msgspec

from deepgguf.executors.executor import Executor, Progress
from deepgguf.formats.manifest import Manifest
from deepgguf.planning.windows import Window
from deepgguf.run.file_job import FileJob
from deepgguf.run.journal import Finished
from deepgguf.run.result import Result
from deepgguf.run.settings import Settings
from deepgguf.run.tally import Tally


class Writer(Protocol):
    """What a worker writes by, from any thread."""

    def write(self, data: memoryview, offset: int) -> None:
        """`data` at byte `offset` of the file. OutputError if it cannot be written."""

    def close(self) -> None:
        """Lets go of the file; again is harmless."""


class Span(msgspec.Struct, frozen=True):
    """A task for a `FarWorker`: windows whose pieces are settled together."""

    windows: tuple[Window, ...]

    @property
    def label(self) -> str:
        """What a cluster calls the task."""
        return self.windows[0].label


class FarWriter(Writer, Protocol):
    """What a worker on another machine writes by: it can be pickled, and opens where it is used what it writes to."""

    def obstacle(self) -> str:
        """Why nothing can be written from where this is called; "" if it can."""

    def settle(self) -> Mapping[int, str]:
        """Has all that this thread wrote by it stay where it is, before anybody is told that it is written.

        OutputError if that fails. The result is for `OutputRun.take_parts`.
        """


class OutputRun(ABC):
    """A file that is being written, or one that an interrupted run had already given its final name.

    Only the coordinator changes it; workers know nothing but windows, and a writer.
    """

    def __init__(self, job: FileJob, settings: Settings) -> None:
        self.job, self.file, self.numbering = job, job.file, job.numbering
        self.tally = Tally(job.numbering, allow_nonfinite=settings.allow_nonfinite)
        self.resumed = 0  # bytes found from an interrupted run
        self.recorded = 0  # pieces that a run after this one can count on
        self.nodes: Counter[str] = Counter()  # pieces by the node of a cluster that made them
        self._pending: list[Finished] = []

    @property
    def unfinished(self) -> int:
        """How many tensors have pieces that are still to be made."""
        return self.tally.unfinished

    def finish(self, result: Result) -> None:
        """Notes a piece whose bytes have just been written."""
        finished = Finished(result.number, result.digest, result.counts)
        self._pending.append(finished)
        if result.node:
            self.nodes[result.node] += 1
        self.tally.finish(finished, result.squares)

    @property
    @abstractmethod
    def is_named(self) -> bool:
        """Whether it had its final name already when it was opened."""

    @property
    @abstractmethod
    def header_digest(self) -> str:
        """The XXH3-128 of all bytes before the data."""

    @abstractmethod
    def writer(self) -> Writer:
        """What workers that see it write by."""

    @abstractmethod
    def far_writer(self) -> FarWriter:
        """What workers on other machines write by."""

    def take_parts(self, parts: Mapping[int, str]) -> None:  # noqa: B027 - a folder need not know
        """Takes note of what a worker has settled, by `FarWriter.settle`."""

    @abstractmethod
    def write(self, data: memoryview, offset: int) -> None:
        """`data` at byte `offset` of the file, for a worker that could not."""

    @abstractmethod
    def record(self, *, last: bool = False) -> None:
        """Sees to it that a later run need not make again what is finished, as far as that is worth its cost now.

        `last` says that there is no later call: then all of it. OutputError if that fails.
        """

    @abstractmethod
    def complete(self) -> None:
        """All bytes where they stay, and looked at as far as possible; only the name is missing. Not for named ones."""

    @abstractmethod
    def sha256(self) -> str:
        """The SHA-256 of the complete file."""

    @abstractmethod
    def refuse_taken(self) -> None:
        """UsageError if the names that come next have been taken during the work."""

    @abstractmethod
    def give_name(self, manifest: Manifest | None) -> None:
        """The final name for the file and its manifest; without one, that of a file which was replaced goes."""

    @abstractmethod
    def discard(self) -> None:
        """Removes what is not worth resuming."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything; again is harmless."""


class Destination(ABC):
    """Where the files of a run go, all plans' files numbered through."""

    by_outputs: bool = False
    """Whether windows must follow the outputs, because bytes are taken nearly in their order."""
    shares_files: bool = True
    """Whether another process of this machine can write there by a `Writer` that it was sent."""

    @abstractmethod
    def check(self) -> None:
        """UsageError or OutputError for what is known to be in the way before any work."""

    @abstractmethod
    def open(self, number: int, executor: Executor, progress: Progress) -> OutputRun:
        """File number `number`, ready to be written; what is there of it is read back by `executor`.

        OutputError if something is there and may not be resumed or discarded, or if it is of another plan or its
        sources have changed; UsageError if the final name is taken.
        """

    def for_far_writers(self, windows: Iterator[Window]) -> Iterator[Span]:
        """Tasks for `FarWorker`s, each of which a `FarWriter` can settle by itself."""
        return (Span((window,)) for window in windows)

    @abstractmethod
    def finished(self, number: int) -> Manifest | None:
        """The manifest of file number `number` if that is there, complete, and of this plan, sources and version.

        Its data are not read. None also if what an interrupted run left is beside it.
        """

    @abstractmethod
    def settle(self) -> None:
        """The names as they are now, on the medium."""

    @abstractmethod
    def finish(self) -> None:
        """All files of all plans have their names: what was needed to resume is removed."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of everything; again is harmless."""
