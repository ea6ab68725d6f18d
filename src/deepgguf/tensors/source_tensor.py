"""A tensor of the checkpoint: its form, and where its bytes lie."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import msgspec

from deepgguf.encodings.encoding import Encoding, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.files.files import ReadByNumber


class Blob(msgspec.Struct, frozen=True, gc=False):
    """`nbytes` bytes from byte `offset` of the checkpoint's file number `file`."""

    file: int
    offset: int
    nbytes: int


class FileRange(NamedTuple):
    """Bytes [start, stop) of the checkpoint's file number `file`."""

    file: int
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        """Its length in bytes."""
        return self.stop - self.start


class SourceTensor(msgspec.Struct, frozen=True, gc=False):
    """A tensor by the name of its weights; `shape` is row-major.

    `blobs` are the weights and what `encoding` needs beside them (scales), each in whatever shard it lies. `spelled` is
    what the files call the tensor that has it; empty where that is `name`.
    """

    name: str
    shape: tuple[int, ...]
    encoding: Encoding
    blobs: tuple[Blob, ...]
    spelled: str = ""

    @property
    def name_in_files(self) -> str:
        """What the files call the tensor that has it."""
        return self.spelled or self.name

    @property
    def nbytes(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.nbytes for blob in self.blobs)

    def ranges(self, cols: int, first: int, rows: int) -> Iterator[FileRange]:
        """The bytes of each blob that rows [first, first + rows), of `cols` weights each, need."""
        for blob, (start, nbytes) in zip(self.blobs, self.encoding.ranges(cols, first, rows), strict=True):
            yield FileRange(blob.file, blob.offset + start, blob.offset + start + nbytes)

    def read_rows(self, cols: int, first: int, rows: int, read: ReadByNumber, buffers: Buffers) -> Stored:
        """These rows as they are stored, in `buffers`; raises what `read` raises.

        Bytes that were read last are not read again: other rows may need the same (`encodings.part`).
        """
        blobs = tuple(
            buffers.filled(f"blob {number}", span.nbytes, (read, span), partial(read, span.file, span.start))
            for number, span in enumerate(self.ranges(cols, first, rows))
        )
        return Stored(self.name, first, rows, cols, blobs)
