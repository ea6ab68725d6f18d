"""A tensor of the checkpoint: its form, and where its bytes lie."""

import msgspec

from deepgguf.encodings.encoding import Encoding


class Blob(msgspec.Struct, frozen=True, gc=False):
    """`nbytes` bytes from byte `offset` of the checkpoint's file number `file`."""

    file: int
    offset: int
    nbytes: int


class SourceTensor(msgspec.Struct, frozen=True, gc=False):
    """A tensor by the name of its weights; `shape` is row-major.

    `blobs` are the weights and what `encoding` needs beside them (scales), each in whatever shard it lies.
    """

    name: str
    shape: tuple[int, ...]
    encoding: Encoding
    blobs: tuple[Blob, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.nbytes for blob in self.blobs)
