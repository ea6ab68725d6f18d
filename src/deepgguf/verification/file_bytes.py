"""The bytes of a GGUF file at any offset, from any thread or process."""

import os
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.errors import CheckpointError, GGUFError, OutputError
from deepgguf.files.files import flat
from deepgguf.files.regular_file import OpenFile, open_regular
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.verification.stored_hashes import StoredHashes


class FileBytes(msgspec.Struct, frozen=True, dict=True):
    """A file whose header has been read: opened when it is first read, closed when nobody holds it; pickled by path."""

    path: str

    @cached_property
    def _opened(self) -> OpenFile:
        try:
            return open_regular(os.path.realpath(self.path), self.path)
        except CheckpointError as error:
            raise OutputError(self.path, error.found) from None

    def readinto(self, offset: int, buffer: NDArray[Any]) -> None:
        """Fills the contiguous `buffer` from byte `offset`.

        GGUFError if the file ends before, OutputError if it cannot be read.
        """
        try:
            done = self._opened.readinto(offset, flat(buffer))
        except OSError as error:
            raise OutputError(self.path, f"reading at byte {offset:,} failed: {error.strerror}") from None
        if done < buffer.nbytes:
            raise GGUFError(self.path, f"ends at byte {offset + done:,}", "something else is writing to it")

    def read(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """`nbytes` bytes from byte `offset`; errors as for `readinto`."""
        buffer = np.empty(nbytes, np.uint8)
        self.readinto(offset, buffer)
        return buffer


class CheckedFile(msgspec.Struct, frozen=True):
    """A file that is checked: its header, its bytes, and the hashes that its conversion stored, if there are any."""

    header: GGUFHeader
    data: FileBytes
    stored: StoredHashes | None
