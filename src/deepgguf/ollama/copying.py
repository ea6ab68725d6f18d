"""GGUF files that are there already, copied into the store and hashed on the way; a split set becomes one file.

Joining is llama-gguf-split's `--merge`: all tensors in order, and the keys of the first file but those of the layout.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from deepgguf.errors import GGUFError, OutputError
from deepgguf.executors.executor import Progress
from deepgguf.formats.gguf.encode import encode_header, lay_out, padded
from deepgguf.formats.gguf.split_set import LAYOUT_KEYS
from deepgguf.formats.gguf.types import ALIGNMENT, GGUFHeader
from deepgguf.ollama.layers import StoredFile
from deepgguf.run.disk import Disk, must_be_at, must_be_ours

_RUN = 4 << 20  # bytes at a time


class _Range(msgspec.Struct, frozen=True):
    """Bytes of a file from `offset`, and zeros after them."""

    path: Path
    offset: int
    nbytes: int
    zeros: int = 0


def joined(headers: Sequence[GGUFHeader]) -> GGUFHeader:
    """The header of one file with all tensors of a split set; that of a file alone is its own."""
    if len(headers) == 1:
        return headers[0]
    first = headers[0]
    if any(header.alignment != headers[0].alignment or header.fork_tensors for header in headers):
        raise GGUFError(first.path, "its set cannot be joined here", "join it by `llama-gguf-split --merge`")
    keys = {name: value for name, value in first.keys.items() if name not in LAYOUT_KEYS}
    tensors = lay_out((t.name, t.type, t.shape) for header in headers for t in header.tensors)
    start = len(encode_header(keys, tensors))
    size = start + padded(tensors[-1].offset + tensors[-1].nbytes) if tensors else start
    return GGUFHeader(first.path, first.version, ALIGNMENT, start, keys, tensors, size)


def copy_in(
    disk: Disk, headers: Sequence[GGUFHeader], name: str, folder: Path, progress: Progress
) -> tuple[Path, StoredFile]:
    """Copies a file or a split set to `folder`/`name`.part; its path and what it is.

    What an interrupted run left there is compared with the source while it is read, and only what differs is written.
    OutputError if another run is at it, or if reading or writing fails.
    """
    path, whole = folder / f"{name}.part", joined(headers)
    fd = disk.reopen(path) if disk.exists(path) else disk.create(path)
    try:
        must_be_ours(fd, path)
        if not disk.lock(fd, path):
            raise OutputError(path, "another run is writing this file", "wait for it")
        if os.fstat(fd).st_size != whole.file_size:
            disk.truncate(fd, path, min(os.fstat(fd).st_size, whole.file_size))
            disk.allocate(fd, path, whole.file_size)
        digest, at = hashlib.sha256(), 0
        for chunk in _chunks(headers, whole):
            digest.update(chunk)
            if os.pread(fd, len(chunk), at) != chunk:
                disk.write(fd, path, memoryview(chunk), at)
            at += len(chunk)
            progress(len(chunk))
        disk.sync(fd, path)
        must_be_at(fd, path)
    finally:
        os.close(fd)
    return path, StoredFile(name, whole, digest.hexdigest(), joined=len(headers) > 1)


def sha256_of(path: Path, progress: Progress) -> str:
    """The SHA-256 of a file; OutputError if it cannot be read."""
    digest = hashlib.sha256()
    for chunk in _read(_Range(path, 0, path.stat().st_size)):
        digest.update(chunk)
        progress(len(chunk))
    return digest.hexdigest()


def _chunks(headers: Sequence[GGUFHeader], whole: GGUFHeader) -> Iterator[bytes]:
    """The bytes of the whole file, from its first to its last."""
    if len(headers) == 1:
        yield from _read(_Range(Path(whole.path), 0, whole.file_size))
        return
    yield encode_header(whole.keys, whole.tensors)
    ends = [*(tensor.offset for tensor in whole.tensors[1:]), whole.file_size - whole.data_offset]
    sources = ((header, tensor) for header in headers for tensor in header.tensors)
    for (header, tensor), placed, end in zip(sources, whole.tensors, ends, strict=True):
        zeros = end - placed.offset - placed.nbytes
        yield from _read(_Range(Path(header.path), header.data_offset + tensor.offset, tensor.nbytes, zeros))


def _read(what: _Range) -> Iterator[bytes]:
    try:
        with what.path.open("rb") as file:
            file.seek(what.offset)
            left = what.nbytes
            while left:
                chunk = file.read(min(_RUN, left))
                if not chunk:
                    raise GGUFError(what.path, "has become shorter while it was read", "see who writes to it")
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise OutputError(what.path, f"reading it failed: {error.strerror}", "check the disk, then try again") from None
    if what.zeros:
        yield bytes(what.zeros)
