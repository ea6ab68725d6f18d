"""A file against the hashes that its conversion stored: one changed bit is found, without the source."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import xxhash

from deepgguf.errors import OutputError, printable
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import TensorInfo
from deepgguf.verification.file_bytes import OpenFile
from deepgguf.verification.report import Difference
from deepgguf.verification.stored_hashes import StoredTensor

_RUN = 1 << 20  # bytes hashed at a time


def header_differences(opened: OpenFile) -> Iterator[Difference]:
    """Size, header bytes, and the list of tensors, if there are stored hashes."""
    header, file, stored = opened.header, opened.data, opened.stored
    if stored is None:
        return
    where = f"file {printable(header.path)}"
    if header.file_size != stored.size:
        yield Difference(where, "the size in bytes", f"{stored.size:,}", f"{header.file_size:,}")
    digest = xxhash.xxh3_128_hexdigest(file.read(0, header.data_offset).data)
    if digest != stored.header_digest:
        text = f"XXH3-128 of the header, bytes 0 to {header.data_offset:,}: a key or a tensor's entry was changed"
        yield Difference(where, text, stored.header_digest, digest)
    theirs = [(t.name, t.type, t.offset, t.nbytes) for t in stored.tensors]
    ours = [(t.name, t.type.name, t.offset, t.nbytes) for t in header.tensors]
    if theirs != ours:
        at = next((i for i, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]), None)
        if at is None:
            yield Difference(where, "the number of tensors", f"{len(theirs)}", f"{len(ours)}")
        else:
            text = f"entry {at} of the tensors: name, type, offset, bytes"
            yield Difference(where, text, printable(theirs[at]), printable(ours[at]))


class HashTask(NamedTuple):
    """The tensor number `tensor` of the file number `file`, which has the digest `stored`."""

    file: int
    tensor: int
    stored: StoredTensor


class Hashed(NamedTuple):
    """So many more bytes of a tensor were hashed; at its end, `difference` says whether its digest is another."""

    file: int
    tensor: int
    nbytes: int
    difference: Difference | None = None


class Hasher:
    """Hashes tensors of some files; it can be pickled."""

    def __init__(self, opened: Sequence[OpenFile]) -> None:
        self._opened, self._buffers = tuple(opened), Buffers()

    def hash(self, task: HashTask) -> Iterator[Hashed]:
        """The tensor's digest, XXH3-128 over the XXH3-128 of its pieces, against the stored one."""
        opened, (file, number, stored) = self._opened[task.file], task
        tensor = opened.header.tensors[number]
        start = opened.header.data_offset + tensor.offset
        whole, done = xxhash.xxh3_128(), 0
        for length in cycle(stored.pieces):
            piece, end = xxhash.xxh3_128(), done + length
            while done < end:
                run = self._buffers.take("hashed", min(_RUN, end - done))
                opened.data.readinto(start + done, run)
                piece.update(run.data)
                done += run.size
                yield Hashed(file, number, run.size)
            whole.update(piece.digest())
            if done >= tensor.nbytes:
                break
        if whole.hexdigest() != stored.digest:
            yield Hashed(file, number, 0, _tensor_difference(tensor, start, stored, whole.hexdigest()))


def _tensor_difference(tensor: TensorInfo, start: int, stored: StoredTensor, digest: str) -> Difference:
    place = (
        f"XXH3-128 of bytes {start:,} to {start + tensor.nbytes:,} of the file, {math.prod(tensor.shape[:-1]):,} rows"
    )
    text = f"{place}; compare with the source to find the row"
    return Difference(f"tensor {printable(tensor.name)}", text, stored.digest, digest)


def padding_differences(opened: OpenFile) -> Iterator[Difference]:
    """Zeros between the tensors' data, as the format has it."""
    header, file = opened.header, opened.data
    ends = [*(t.offset for t in header.tensors[1:]), header.file_size - header.data_offset]
    for tensor, end in zip(header.tensors, ends, strict=False):
        gap = end - tensor.offset - tensor.nbytes
        if gap <= 0:
            continue
        start = header.data_offset + tensor.offset + tensor.nbytes
        if file.read(start, gap).any():
            text = f"the padding after it, bytes {start:,} to {start + gap:,}"
            yield Difference(f"tensor {printable(tensor.name)}", text, "zeros", "other bytes")


def whole_sha256(path: str) -> str:
    """SHA-256 of the file, as Ollama and the Hub name files."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise OutputError(path, f"cannot be read: {error.strerror}") from None
