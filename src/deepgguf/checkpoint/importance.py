"""Importance matrices: how much every column of a tensor mattered to the activations of a calibration text.

llama.cpp's tool llama-imatrix writes them, as GGUF or in an older binary form. The weights are what llama-quantize
makes of the file (tools/quantize/quantize.cpp, load_imatrix; common/imatrix-loader.cpp): sums of squares divided, in
float32, by a count. The matrix of a large model has a gigabyte; only its index is kept, values are read where needed.
"""

import os
import struct
from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from deepgguf.errors import CheckpointError, GGUFError
from deepgguf.files.files import FileFacts, Files
from deepgguf.files.find import near_file
from deepgguf.formats.gguf.decode import decode_header
from deepgguf.formats.gguf.types import MAGIC, GGMLType, GGUFHeader, TensorInfo, Value, ValueType

MAX_ENTRIES = 2**16
MAX_COUNTS = 2**20  # over all entries; DeepSeek-V3 has 45,000
MAX_NAME_BYTES = 1024  # of a name in the older form
# No activation is that large: its square, summed over a block, would overflow in the quantizers and lose the block.
LARGEST = 1e30
MEAN = -1  # the run of a matrix that has the mean of all runs
_CHUNK = 2**18  # values that are checked at a time
_SHORTEST_ROW = 32  # weights; no quantized type has smaller blocks
_MAX_STRING_BYTES = 127  # llama.h, llama_model_kv_override: what llama-quantize writes of a file's or dataset's name
_WANTED = "give the file that llama-imatrix made for this model, often called imatrix.gguf or imatrix.dat"
_DAMAGED = "make or download the importance matrix again"

Weights = NDArray[np.float32]


class ImportanceEntry(msgspec.Struct, frozen=True):
    """The values of one tensor: `size` float32 at byte `offset` of the file.

    `counts` divide the values into equal runs, one per expert, each to be divided by its count; 0 means no data. A
    stack whose matrices were always used together (attn_k_b, attn_v_b) has one count. `zeros` are the ranges of values,
    from and to, that are nothing but 0.
    """

    name: str
    offset: int
    size: int
    counts: tuple[int, ...]
    zeros: tuple[tuple[int, int], ...] = ()

    def weights(self, start: int, sums: Weights) -> Weights:
        """The importance of `sums`, the values from number `start` on: over their count, or 1 where that is 0."""
        run = self.size // len(self.counts)
        counts = np.array(self.counts, np.float32)[(start + np.arange(len(sums))) // run]
        return np.divide(sums, counts, out=np.ones(len(sums), np.float32), where=counts > 0)

    def of_rows(self, length: int) -> "TensorImportance | None":
        """The importance of the matrices with rows of `length` that have this entry; None if it does not divide so.

        A matrix has no data if its count is 0, or all its values are (it is blank): other programs leave those of
        experts that their text never reached at 0 in the older form, where llama-imatrix writes 1. No input of a matrix
        is always 0.
        """
        run = self.size // len(self.counts)
        if run % length:
            return None
        starts = range(0, self.size, length)
        counted = [self.counts[start // run] for start in starts]
        blank = tuple(i for i, start in enumerate(starts) if counted[i] and self._empty(start, length))
        counts = tuple(0 if i in blank else count for i, count in enumerate(counted))
        offsets = tuple(self.offset + 4 * start for start in starts)
        return TensorImportance(self.name, length, offsets, counts, tuple(range(len(counts))), blank)

    def _empty(self, start: int, length: int) -> bool:
        return any(first <= start and start + length <= end for first, end in self.zeros)


class TensorImportance(msgspec.Struct, frozen=True):
    """Where the importance of a tensor's columns is, `length` values for each of its matrices.

    It is that of the entry `source`. Run i of its sums begins at byte `offsets[i]` of the file and is to be divided by
    `counts[i]`; without a count there are no data, and every column has the importance 1. `runs` has the run of every
    matrix, or MEAN; `blank` are those runs without data that the file does not count as such: nothing but 0, or
    not there.
    """

    source: str
    length: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    runs: tuple[int, ...]
    blank: tuple[int, ...] = ()

    @property
    def unused(self) -> tuple[int, ...]:
        """The matrices without data: experts that the calibration text never reached."""
        return tuple(i for i, run in enumerate(self.runs) if run != MEAN and not self.counts[run])

    @property
    def averaged(self) -> tuple[int, ...]:
        """The matrices that have the mean of all runs."""
        return tuple(i for i, run in enumerate(self.runs) if run == MEAN)

    def filled(self) -> "TensorImportance":
        """The same with the mean of the other matrices for the blank ones.

        Those that were not even counted keep equal weights, as llama-quantize has it.
        """
        runs = tuple(MEAN if run in self.blank else run for run in self.runs)
        return msgspec.structs.replace(self, runs=runs)


class ImportanceFile(msgspec.Struct, frozen=True):
    """Where a matrix's values are read, wherever a piece is made.

    `digest` is the XXH3-128 of the names and values, by which a plan tells two matrices apart.
    """

    files: Files
    file: FileFacts
    digest: str

    def columns(self, importance: TensorImportance, matrix: int) -> Weights:
        """The importance of the columns of a tensor's matrix number `matrix`: float32 [length].

        Can be called from any thread. Raises CheckpointError if the file changed since it was read first, OutputError
        if it cannot be read.
        """
        run = importance.runs[matrix]
        if run != MEAN:
            return self._run(importance, run)
        known = [run for run, count in enumerate(importance.counts) if count > 0]
        if not known:
            return np.ones(importance.length, np.float32)
        total = sum((self._run(importance, run) for run in known), np.zeros(importance.length, np.float64))
        return np.asarray(total / len(known), np.float32)

    def _run(self, importance: TensorImportance, run: int) -> Weights:
        if not importance.counts[run]:
            return np.ones(importance.length, np.float32)
        sums = _floats(self.files, self.file, importance.offsets[run], importance.length)
        return sums / np.float32(importance.counts[run])


class NameFilter(msgspec.Struct, frozen=True):
    """Which tensors a matrix is used for, by parts of their names; without any for all.

    `unmatched` are those parts that no entry's name has.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()

    def admits(self, name: str) -> bool:
        """Whether the matrix is used for the tensor of this name (quantize.cpp, prepare_imatrix)."""
        included = not self.include or any(part in name for part in self.include)
        return included and not any(part in name for part in self.exclude)


class ImportanceMatrix(msgspec.Struct, frozen=True):
    """An importance matrix's index, and the file that its values are read from.

    `chunk_count` is the number of chunks of text it was made of, 0 if the file does not say. `filter` has left only the
    entries that it admits.
    """

    source: ImportanceFile
    entries: Mapping[str, ImportanceEntry]
    datasets: tuple[str, ...]
    chunk_count: int
    filter: NameFilter = NameFilter()

    def filtered(self, include: Sequence[str], exclude: Sequence[str]) -> "ImportanceMatrix":
        """The same for fewer tensors: the other entries are as if they were not there, and are not counted."""
        parts = (*include, *exclude)
        unmatched = tuple(part for part in parts if not any(part in name for name in self.entries))
        filter = NameFilter(tuple(include), tuple(exclude), unmatched)
        entries = {name: entry for name, entry in self.entries.items() if filter.admits(name)}
        return msgspec.structs.replace(self, entries=entries, filter=filter)

    @property
    def sizes(self) -> dict[str, int]:
        """The number of values of every entry, by tensor name."""
        return {name: entry.size for name, entry in self.entries.items()}

    def keys(self) -> dict[str, Value]:
        """The keys that llama-quantize writes into a file that it made with this matrix (quantize.cpp)."""
        keys = {"quantize.imatrix.file": _short(self.source.file.name)}
        if self.datasets:
            keys["quantize.imatrix.dataset"] = _short(self.datasets[0])
        keys["quantize.imatrix.entries_count"] = Value(ValueType.UINT32, len(self.entries))
        if self.chunk_count > 0:
            keys["quantize.imatrix.chunks_count"] = Value(ValueType.UINT32, self.chunk_count)
        return keys


def read_importance(path: str | os.PathLike[str]) -> ImportanceMatrix:
    """Reads the index of an importance matrix of either form, and every value once.

    Raises:
        UsageError: no such file, or no regular one.
        CheckpointError: not an importance matrix; cut short; sums without counts or the reverse; counts
            that do not divide the values; a value that is negative, not finite, or more than LARGEST.
        OutputError: the file cannot be read.
    """
    files, name = near_file(path, "an importance matrix")
    file = files.facts(name)
    is_gguf = file.size >= len(MAGIC) and files.read(file, 0, len(MAGIC)).tobytes() == MAGIC
    entries, datasets, chunk_count = (_read_gguf if is_gguf else _read_legacy)(files, file)
    digest, zeros = _checked(files, file, entries)
    checked = {e.name: msgspec.structs.replace(e, zeros=at) for e, at in zip(entries, zeros, strict=True)}
    return ImportanceMatrix(ImportanceFile(files, file, digest), checked, datasets, chunk_count)


def _read_gguf(files: Files, file: FileFacts) -> tuple[list[ImportanceEntry], tuple[str, ...], int]:
    def read(offset: int, length: int) -> bytes:
        return files.read(file, offset, min(length, file.size - offset)).tobytes()

    try:
        header = decode_header(read, file.size, file.name)
    except GGUFError as error:
        raise CheckpointError(error.where, error.found, error.advice) from None
    sums, counts = _tensors_by_suffix(header, ".in_sum2"), _tensors_by_suffix(header, ".counts")
    if not sums:
        _refuse(file, f"is {_kind(header)}, not an importance matrix: it has no tensor NAME.in_sum2", _WANTED)
    datasets, chunk_count = _metadata(file, header)
    unpaired = sums.keys() ^ counts.keys()
    if unpaired:
        _refuse(file, f"has only one of in_sum2 and counts for {min(unpaired)}")
    if sum(info.nbytes // 4 for info in counts.values()) > MAX_COUNTS or len(sums) > MAX_ENTRIES:
        _refuse(file, f"has more than {MAX_ENTRIES:,} entries or {MAX_COUNTS:,} counts")
    start = header.data_offset
    entries = [_gguf_entry(files, file, start, name, sums[name], counts[name]) for name in sorted(sums)]
    return entries, datasets, chunk_count


def _kind(header: GGUFHeader) -> str:
    """What a GGUF file is that is not an importance matrix."""
    named = header.keys.get("general.architecture")
    return f"a model ({named.value})" if named and named.value else "a GGUF file of something else"


def _metadata(file: FileFacts, header: GGUFHeader) -> tuple[tuple[str, ...], int]:
    for key in ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"):
        if key not in header.keys:
            _refuse(file, f"lacks the key {key}", "make it with a newer llama-imatrix")
    named, chunks = header.keys["imatrix.datasets"], header.keys["imatrix.chunk_count"]
    if named.item_type is not ValueType.STRING or not isinstance(named.value, (list, tuple)):
        _refuse(file, "the key imatrix.datasets is not an array of strings")
    if chunks.type is not ValueType.UINT32 or not isinstance(chunks.value, int):
        _refuse(file, "the key imatrix.chunk_count is not a UINT32")
    return tuple(map(str, named.value)), chunks.value


def _tensors_by_suffix(header: GGUFHeader, suffix: str) -> dict[str, TensorInfo]:
    return {info.name.removesuffix(suffix): info for info in header.tensors if info.name.endswith(suffix)}


def _gguf_entry(
    files: Files, file: FileFacts, data_offset: int, name: str, sums: TensorInfo, counts: TensorInfo
) -> ImportanceEntry:
    if sums.type is not GGMLType.F32 or counts.type is not GGMLType.F32:
        _refuse(file, f"in_sum2 and counts of {name} are {sums.type.name} and {counts.type.name}, not F32")
    size, n_counts = sums.nbytes // 4, counts.nbytes // 4
    if not size or not n_counts or size % n_counts:
        _refuse(file, f"{name} has {size} values, which {n_counts} counts do not divide")
    numbers = _floats(files, file, data_offset + counts.offset, n_counts)
    if not np.all((numbers >= 0) & (numbers < 2**53)):
        _refuse(file, f"{name} has a count that is negative or not finite")
    rounded = np.floor(numbers.astype(np.float64) + 0.5)  # llama.cpp's lround
    return ImportanceEntry(name, data_offset + sums.offset, size, tuple(int(count) for count in rounded))


def _read_legacy(files: Files, file: FileFacts) -> tuple[list[ImportanceEntry], tuple[str, ...], int]:
    cursor = _Cursor(files, file)
    n_entries = cursor.int32("the number of entries")
    if not 1 <= n_entries <= MAX_ENTRIES:
        _refuse(file, "neither GGUF nor an importance matrix", _WANTED)
    entries: dict[str, ImportanceEntry] = {}
    for number in range(1, n_entries + 1):
        entry = _legacy_entry(cursor, f"entry {number} of {n_entries}")
        if entry.name in entries:
            cursor.refuse(f"a second entry for {entry.name}")
        entries[entry.name] = entry
    if not cursor.left:
        return list(entries.values()), (), 0
    chunk_count = cursor.int32("the number of chunks")
    length = cursor.int32("the dataset's name") if cursor.left else 0
    dataset = cursor.text(length, "the dataset's name") if length > 0 else ""
    return list(entries.values()), (dataset,) if dataset else (), chunk_count


def _legacy_entry(cursor: "_Cursor", what: str) -> ImportanceEntry:
    name = cursor.text(cursor.int32(f"the name of {what}"), f"the name of {what}")
    calls, size = cursor.int32(f"the calls of {what}"), cursor.int32(f"the size of {what}")
    if size < 1 or 4 * size > cursor.left:
        cursor.refuse(f"{name or what} claims {size} values, and {cursor.left} bytes are left")
    offset = cursor.skip(4 * size)
    # Without calls the values are the weights (load_imatrix), as they are after a division by 1.
    return ImportanceEntry(name, offset, size, (max(calls, 1),))


class _Cursor:
    """A place in a file of the older form."""

    def __init__(self, files: Files, file: FileFacts) -> None:
        self._files, self._file = files, file
        self._position = 0

    @property
    def left(self) -> int:
        """Bytes from here to the file's end."""
        return self._file.size - self._position

    def refuse(self, found: str) -> NoReturn:
        """Raises CheckpointError for what is found here."""
        raise CheckpointError(f"{self._file.name}, byte {self._position}", found, _DAMAGED)

    def skip(self, nbytes: int) -> int:
        """Skips so many bytes, which the caller has found to be there; returns where they begin."""
        self._position += nbytes
        return self._position - nbytes

    def int32(self, what: str) -> int:
        return int(struct.unpack("<i", self._take(4, what))[0])

    def text(self, length: int, what: str) -> str:
        """A string of so many bytes, up to the first zero as C has it."""
        if not 0 <= length <= MAX_NAME_BYTES:
            self.refuse(f"{what} claims {length} bytes")
        try:
            return self._take(length, what).split(b"\0")[0].decode()
        except UnicodeDecodeError:
            self.refuse(f"{what} is not UTF-8")

    def _take(self, nbytes: int, what: str) -> bytes:
        if nbytes > self.left:
            self.refuse(f"the file ends in {what}")
        return self._files.read(self._file, self.skip(nbytes), nbytes).tobytes()


_Ranges = tuple[tuple[int, int], ...]


def _checked(files: Files, file: FileFacts, entries: list[ImportanceEntry]) -> tuple[str, list[_Ranges]]:
    """XXH3-128 over names, counts and values, and the ranges of zeros of every entry.

    CheckpointError for a value that is no mean square.
    """
    digest, zeros = xxhash.xxh3_128(), []
    for entry in entries:
        digest.update(msgspec.msgpack.encode((entry.name, entry.size, entry.counts)))
        found: _Ranges = ()
        since = 0  # where the zeros begin that reach up to here
        for start in range(0, entry.size, _CHUNK):
            sums = _floats(files, file, entry.offset + 4 * start, min(_CHUNK, entry.size - start))
            digest.update(sums.data)
            ranges, since = _zero_ranges(sums, start, since)
            found += ranges
            weights = entry.weights(start, sums)
            if not ((weights >= 0) & (weights <= LARGEST)).all():
                odd = weights[~((weights >= 0) & (weights <= LARGEST))][0]
                _refuse(file, f"{entry.name} has the value {odd:g}, expected a mean square, from 0 to {LARGEST:.0g}")
        zeros.append(found + (((since, entry.size),) if entry.size - since >= _SHORTEST_ROW else ()))
    return digest.hexdigest(), zeros


def _zero_ranges(values: Weights, start: int, since: int) -> tuple[_Ranges, int]:
    """The ranges of zeros of at least a row that end in `values`, and where the zeros begin that may go on after them.

    The first value has the number `start`; all from `since` up to it are 0.
    """
    others = np.zeros(1, np.int64) if values.all() else np.flatnonzero(values)
    edges = np.concatenate(([since - 1], start + others))
    wide = np.flatnonzero(np.diff(edges) > _SHORTEST_ROW)
    ranges = tuple((int(edges[i]) + 1, int(edges[i + 1])) for i in wide)
    return ranges, start + len(values) if values.all() else int(edges[-1]) + 1


def _floats(files: Files, file: FileFacts, offset: int, count: int) -> Weights:
    values = np.empty(count, "<f4")
    files.readinto(file, offset, values)
    return values.astype(np.float32, copy=False)


def _short(text: str) -> Value:
    return Value(ValueType.STRING, text.encode(errors="replace")[:_MAX_STRING_BYTES].decode(errors="ignore"))


def _refuse(file: FileFacts, found: str, advice: str = _DAMAGED) -> NoReturn:
    raise CheckpointError(file.name, found, advice)
