"""A file against the hashes that its conversion stored: one changed bit is found, without the source."""

import hashlib
import math
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import xxhash

from deepgguf.errors import OutputError, printable
from deepgguf.executors.threads import Buffers
from deepgguf.formats.gguf.types import GGUFHeader, TensorInfo
from deepgguf.verification.file_bytes import FileBytes
from deepgguf.verification.report import Difference
from deepgguf.verification.stored_hashes import StoredHashes, StoredTensor

_RUN = 1 << 20  # bytes hashed at a time


def header_differences(header: GGUFHeader, stored: StoredHashes, file: FileBytes) -> Iterator[Difference]:
    """Size, header bytes, and the list of tensors."""
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


def tensor_difference(
    header: GGUFHeader, tensor: TensorInfo, stored: StoredTensor, file: FileBytes, buffers: Buffers,
    progress: Callable[[int], None],
) -> Difference | None:  # fmt: skip
    """The tensor's digest, XXH3-128 over the XXH3-128 of its pieces."""
    start = header.data_offset + tensor.offset
    whole, done = xxhash.xxh3_128(), 0
    for length in cycle(stored.pieces):
        piece, end = xxhash.xxh3_128(), done + length
        while done < end:
            run = buffers.take("hashed", min(_RUN, end - done))
            file.readinto(start + done, run)
            piece.update(run.data)
            done += run.size
            progress(run.size)
        whole.update(piece.digest())
        if done >= tensor.nbytes:
            break
    digest = whole.hexdigest()
    if digest == stored.digest:
        return None
    rows = math.prod(tensor.shape[:-1])
    text = (
        f"XXH3-128 of bytes {start:,} to {start + tensor.nbytes:,} of the file, {rows:,} rows; compare with the source"
    )
    return Difference(f"tensor {printable(tensor.name)}", f"{text} to find the row", stored.digest, digest)


def padding_differences(header: GGUFHeader, file: FileBytes) -> Iterator[Difference]:
    """Zeros between the tensors' data, as the format has it."""
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
