"""A file against the hashes that its conversion stored: one changed bit is found, without the source."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import msgspec
import xxhash

from deepgguf.errors import OutputError, printable
from deepgguf.executors.buffers import Buffers
from deepgguf.executors.executor import Executor, Progress
from deepgguf.formats.gguf.types import TensorInfo
from deepgguf.formats.manifest import ManifestTensor
from deepgguf.verification.each_once import Checked, each_once
from deepgguf.verification.file_bytes import CheckedFile, FileBytes
from deepgguf.verification.report import Difference

_RUN = 1 << 20  # bytes hashed at a time


def header_differences(checked: CheckedFile) -> Iterator[Difference]:
    """Size, header bytes, and the list of tensors, if there are stored hashes."""
    header, file, stored = checked.header, checked.data, checked.stored
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


def check_hashes(
    checked: Sequence[CheckedFile], executor: Executor, progress: Progress
) -> tuple[list[Difference], Counter[int]]:
    """Compares the tensors' digests with the stored ones.

    The second result is how many were compared of each file. OutputError if the executor leaves any out.
    """
    tasks = list(_tasks(checked))
    work, sizes = _Hasher(tuple(file.data for file in checked), Buffers()), [task.stored.nbytes for task in tasks]
    with closing(each_once(executor, work.hash, enumerate(tasks), sizes, progress)) as results:
        digests = {result.number: result.digest for result in results if result.digest}
    differences = [
        _tensor_difference(task, checked[task.file].header.tensors[task.tensor], digests[number])
        for number, task in enumerate(tasks)
        if digests[number] != task.stored.digest
    ]
    return differences, Counter(task.file for task in tasks)


class _Task(NamedTuple):
    """The tensor number `tensor` of the file number `file`, from byte `start` of it, with what is stored of it."""

    file: int
    tensor: int
    start: int
    stored: ManifestTensor


class _Hashed(Checked, frozen=True, gc=False):
    """A part of the tensor of the task number `number`; the last one has the tensor's digest, the others ""."""

    digest: str


def _tasks(checked: Sequence[CheckedFile]) -> Iterator[_Task]:
    for number, file in enumerate(checked):
        stored = {t.name: t for t in file.stored.tensors} if file.stored else {}
        for index, tensor in enumerate(file.header.tensors):
            known = stored.get(tensor.name)
            if known and known.nbytes == tensor.nbytes:
                yield _Task(number, index, file.header.data_offset + tensor.offset, known)


class _Hasher(msgspec.Struct, frozen=True):
    opened: tuple[FileBytes, ...]
    buffers: Buffers

    def hash(self, numbered: tuple[int, _Task]) -> Iterator[_Hashed]:
        """The tensor's digest: XXH3-128 over the XXH3-128 of its pieces."""
        number, task = numbered
        whole, done = xxhash.xxh3_128(), 0
        for length in cycle(task.stored.pieces):
            piece, end = xxhash.xxh3_128(), done + length
            while done < end:
                run = self.buffers.take("hashed", min(_RUN, end - done))
                self.opened[task.file].readinto(task.start + done, run)
                piece.update(run.data)
                done += run.size
                if done == end:
                    whole.update(piece.digest())
                digest = whole.hexdigest() if done == task.stored.nbytes else ""
                yield _Hashed(number, done - run.size, run.size, digest)
            if done >= task.stored.nbytes:
                return


def _tensor_difference(task: _Task, tensor: TensorInfo, digest: str) -> Difference:
    place = f"bytes {task.start:,} to {task.start + tensor.nbytes:,} of the file"
    rows = f"{math.prod(tensor.shape[:-1]):,} rows"
    text = f"XXH3-128 of {place}, {rows}; compare with the source to find the row"
    return Difference(f"tensor {printable(tensor.name)}", text, task.stored.digest, digest)


def padding_differences(checked: CheckedFile) -> Iterator[Difference]:
    """Zeros between the tensors' data, as the format has it."""
    header, file = checked.header, checked.data
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
