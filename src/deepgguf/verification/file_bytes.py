"""The bytes of a GGUF file at any offset, from any thread."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.errors import GGUFError, OutputError
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.verification.stored_hashes import StoredHashes


class FileBytes:
    """A file whose header has been read; by pread, since a mapped file that is cut short kills the process."""

    def __init__(self, path: str) -> None:
        """OutputError if it cannot be opened."""
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise OutputError(path, f"cannot be opened: {error.strerror}") from None

    def __reduce__(self) -> tuple[type["FileBytes"], tuple[str]]:
        """Sent elsewhere, it is opened there."""
        return FileBytes, (self._path,)

    def readinto(self, offset: int, buffer: NDArray[Any]) -> None:
        """Fills the contiguous `buffer` from byte `offset`. GGUFError if the file ends before."""
        view, done = buffer.data.cast("B"), 0
        while done < len(view):
            try:
                got = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as error:
                raise OutputError(self._path, f"reading at byte {offset + done:,} failed: {error.strerror}") from None
            if got == 0:
                raise GGUFError(self._path, f"ends at byte {offset + done:,}", "something else is writing to it")
            done += got

    def read(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """`nbytes` bytes from byte `offset`; errors as for `readinto`."""
        buffer = np.empty(nbytes, np.uint8)
        self.readinto(offset, buffer)
        return buffer

    def close(self) -> None:
        """Closes the file; again is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Closes."""
        self.close()


def manifest_path(path: str | os.PathLike[str]) -> Path:
    """Where a conversion leaves the hashes of `path`."""
    return Path(f"{os.fspath(path)}.json")


class OpenFile(msgspec.Struct, frozen=True):
    """A file that is checked: its header, its bytes, and the hashes that its conversion stored, if there are any."""

    header: GGUFHeader
    data: FileBytes
    stored: StoredHashes | None
