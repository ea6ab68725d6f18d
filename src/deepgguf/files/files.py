"""The contract of a source of files: names, facts, bytes at an offset. One module here for each kind of source.

`tests/files/conformance.py` has the claims that every source inherits.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.errors import ChangedError, CheckpointError, OutputError, UsageError
from deepgguf.files.traffic import Traffic

Buffer = memoryview | bytearray | NDArray[Any]
ReadByNumber = Callable[[int, int, Buffer], None]
"""(number of the file, offset, buffer): fills the buffer."""


class FileFacts(msgspec.Struct, frozen=True):
    """A file as it was when it was asked for; `size` in bytes.

    `version` changes when the content does, as far as the source can tell: a time of change, an entity tag, a commit.
    """

    name: str
    size: int
    version: str


class Files(ABC):
    """The files of one checkpoint, read at any offset from any thread.

    A source is plain data to whoever sends it elsewhere: it can be pickled, and opens what it needs where it is read.
    """

    whole_windows: bool = False
    """Whether a request is worth megabytes: a window is then read at once, and else piece by piece, as it is used."""

    connections: int = 0
    """How many requests are worth being on their way besides what is worked on; each is for a window."""

    most_connections: int = 0
    """How many may be, where the line rewards more."""

    held: int = 0
    """Bytes of memory that it holds at most of what it has read."""

    @property
    def traffic(self) -> Traffic | None:
        """What was read over a network so far; None for other sources."""
        return None

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the files are, as the user would write it: an absolute folder, an address."""

    @property
    @abstractmethod
    def checkpoint_name(self) -> str:
        """What the checkpoint is called there, for the name of the output."""

    @property
    def repository(self) -> tuple[str | None, str | None]:
        """(ORGANIZATION/NAME, commit) of the Hugging Face Hub that the files come from, None for what is not known."""
        return None, None

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The names of the checkpoint's files, sorted, without those in folders below.

        What is there but cannot be read (a folder, a FIFO) may be named too; `facts` refuses it.
        """

    def names_in(self, folder: str) -> Sequence[str]:
        """The names of the files in a folder of the checkpoint, sorted, each as `facts` takes it: FOLDER/NAME.

        None by default, for sources without folders. Errors as for `facts`.
        """
        return ()

    @abstractmethod
    def facts(self, name: str) -> FileFacts:
        """Size and version as they are now.

        CheckpointError if there is no such file or it is none of the checkpoint's, OutputError if it cannot be read.
        """

    @abstractmethod
    def readinto(self, file: FileFacts, offset: int, buffer: Buffer) -> None:
        """Fills the contiguous `buffer` with the file's bytes from `offset`.

        Raises ChangedError if the file is no longer what `file` says, or ends before; OutputError if it cannot be read,
        `gone` if it is not there any more: neither says that the checkpoint is wrong.
        """

    def keep_in(self, folder: str | os.PathLike[str]) -> None:
        """Keeps what is read in `folder`, and reads from there what that has; UsageError for what is near anyway."""
        raise UsageError("`cache`", f"has no meaning for {self.place}, which is on this machine", "leave it out")

    def abandon(self) -> None:  # noqa: B027 - most sources do not wait
        """Has reads that wait for a network end soon, with OutputError; until it is closed nothing is tried again."""

    @abstractmethod
    def close(self) -> None:
        """Closes what is open; the files can be read again afterwards."""

    def read(self, file: FileFacts, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """`nbytes` bytes from `offset`, as a new array of shape [nbytes]; errors as for `readinto`."""
        buffer = np.empty(nbytes, np.uint8)
        self.readinto(file, offset, buffer)
        return buffer

    def local_path(self, name: str) -> str | None:
        """The real path of a file that lies on this machine; None for others. Errors as for `facts`."""
        return None

    def by_number(self, numbered: Sequence[FileFacts]) -> ReadByNumber:
        """`readinto` for files that are named by their number in `numbered`."""
        return lambda number, offset, buffer: self.readinto(numbered[number], offset, buffer)

    def check_unchanged(self, files: Sequence[FileFacts]) -> None:
        """ChangedError that names the first of `files` of another size or version; OutputError as for `readinto`."""
        for file in files:
            try:
                same = self.facts(file.name) == file
            except CheckpointError as error:
                raise gone(error) from None
            if not same:
                raise changed(file)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()


def flat(buffer: Buffer) -> memoryview:
    """The bytes of the contiguous `buffer`, of shape [nbytes]."""
    view = buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(bytearray())


def changed(file: FileFacts) -> ChangedError:
    """The error for a file that is no longer what `file` says."""
    return ChangedError(
        file.name,
        f"changed or truncated while it was read, expected {file.size:,} bytes",
        "put back what was there and run again with `resume=True`, or start over with `restart=True`",
    )


def gone(error: CheckpointError) -> OutputError:
    """The error for a file that was read before and is not there any more: its folder may come back."""
    found = f"can no longer be read: {error.found}"
    return OutputError(error.where, found, "bring it back, then run again with `resume=True`")
