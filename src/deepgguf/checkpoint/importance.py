"""Importance matrices: how much every column of a tensor mattered to the activations of a calibration text.

llama.cpp's tool llama-imatrix writes them, as GGUF or in an older binary form. The weights are what llama-quantize
makes of the file (tools/quantize/quantize.cpp, load_imatrix; common/imatrix-loader.cpp): sums of squares divided, in
float32, by a count. The matrix of a large model has a gigabyte; only its index is kept, values are read where needed.
"""

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from deepgguf.errors import CheckpointError, GGUFError, UsageError
from deepgguf.files.files import FileFacts, Files
from deepgguf.files.local import LocalFiles
from deepgguf.formats.gguf.decode import decode_header
from deepgguf.formats.gguf.types import MAGIC, GGMLType, GGUFHeader, TensorInfo, Value, ValueType

MAX_ENTRIES = 2**16
MAX_COUNTS = 2**20  # over all entries; DeepSeek-V3 has 45,000
MAX_NAME_BYTES = 1024  # of a name in the older form
# No activation is that large: its square, summed over a block, would overflow in the quantizers and lose the block.
LARGEST = 1e30
_CHUNK = 2**18  # values that are checked at a time
_MAX_STRING_BYTES = 127  # llama.h, llama_model_kv_override: what llama-quantize writes of a file's or dataset's name
_DAMAGED = "make or download the importance matrix again"

Weights = NDArray[np.float32]


class ImportanceEntry(msgspec.Struct, frozen=True):
    """The values of one tensor: `size` float32 at byte `offset` of the file.

    `counts` divide the values into equal runs, one per expert, each to be divided by its count; 0 means no data. A
    stack whose matrices were always used together (attn_k_b, attn_v_b) has one count.
    """

    name: str
    offset: int
    size: int
    counts: tuple[int, ...]

    @property
    def unused(self) -> tuple[int, ...]:
        """The experts that the calibration text never reached; the older form does not say."""
        return tuple(i for i, count in enumerate(self.counts) if count <= 0)

    def weights(self, start: int, sums: Weights) -> Weights:
        """The importance of `sums`, the values from number `start` on: over their count, or 1 where that is 0."""
        run = self.size // len(self.counts)
        counts = np.array(self.counts, np.float32)[(start + np.arange(len(sums))) // run]
        return np.divide(sums, counts, out=np.ones(len(sums), np.float32), where=counts > 0)


class ImportanceFile(msgspec.Struct, frozen=True):
    """Where a matrix's values are read, wherever a piece is made.

    `digest` is the XXH3-128 of the names and values, by which a plan tells two matrices apart.
    """

    files: Files
    file: FileFacts
    digest: str

    def columns(self, entry: ImportanceEntry, start: int, count: int) -> Weights:
        """The importance of `count` columns of the entry's tensor, from number `start` on: float32 [count].

        Matrix i of a stack with rows of n weights has the columns i × n to (i + 1) × n. Can be called from any thread.
        Raises CheckpointError if the file changed since it was read first, OutputError if it cannot be read.
        """
        if not 0 <= start <= start + count <= entry.size:
            raise ValueError(f"{entry.name} has {entry.size} columns, not {start} to {start + count}")
        return entry.weights(start, _floats(self.files, self.file, entry.offset + 4 * start, count))


class ImportanceMatrix(msgspec.Struct, frozen=True):
    """An importance matrix's index, and the file that its values are read from.

    `chunk_count` is the number of chunks of text it was made of, 0 if the file does not say.
    """

    source: ImportanceFile
    entries: Mapping[str, ImportanceEntry]
    datasets: tuple[str, ...]
    chunk_count: int

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
        UsageError: no such file.
        CheckpointError: not an importance matrix; cut short; sums without counts or the reverse; counts
            that do not divide the values; a value that is negative, not finite, or more than LARGEST.
        OutputError: the file cannot be read.
    """
    try:
        Path(path).stat()
    except OSError as e:
        found = "no such file" if isinstance(e, FileNotFoundError) else f"cannot be read: {e.strerror}"
        raise UsageError(os.fspath(path), found, "give the path of an importance matrix") from None
    files, name = LocalFiles.of_file(path)
    file = files.facts(name)
    is_gguf = file.size >= len(MAGIC) and files.read(file, 0, len(MAGIC)).tobytes() == MAGIC
    entries, datasets, chunk_count = (_read_gguf if is_gguf else _read_legacy)(files, file)
    source = ImportanceFile(files, file, _checked_digest(files, file, entries))
    return ImportanceMatrix(source, {entry.name: entry for entry in entries}, datasets, chunk_count)


def _read_gguf(files: Files, file: FileFacts) -> tuple[list[ImportanceEntry], tuple[str, ...], int]:
    def read(offset: int, length: int) -> bytes:
        return files.read(file, offset, min(length, file.size - offset)).tobytes()

    try:
        header = decode_header(read, file.size, file.name)
    except GGUFError as error:
        raise CheckpointError(error.where, error.found, error.advice) from None
    datasets, chunk_count = _metadata(file, header)
    sums, counts = _tensors_by_suffix(header, ".in_sum2"), _tensors_by_suffix(header, ".counts")
    if not sums:
        _refuse(file, "has no tensor NAME.in_sum2, so it is not an importance matrix", "name a file of llama-imatrix")
    unpaired = sums.keys() ^ counts.keys()
    if unpaired:
        _refuse(file, f"has only one of in_sum2 and counts for {min(unpaired)}")
    if sum(info.nbytes // 4 for info in counts.values()) > MAX_COUNTS or len(sums) > MAX_ENTRIES:
        _refuse(file, f"has more than {MAX_ENTRIES:,} entries or {MAX_COUNTS:,} counts")
    start = header.data_offset
    entries = [_gguf_entry(files, file, start, name, sums[name], counts[name]) for name in sorted(sums)]
    return entries, datasets, chunk_count


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
        found = f"neither GGUF nor an importance matrix: {n_entries} entries"
        _refuse(file, found, "name a file of llama-imatrix")
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


def _checked_digest(files: Files, file: FileFacts, entries: list[ImportanceEntry]) -> str:
    """XXH3-128 over names, counts and values; CheckpointError for a value that is no mean square."""
    digest = xxhash.xxh3_128()
    for entry in entries:
        digest.update(msgspec.msgpack.encode((entry.name, entry.size, entry.counts)))
        for start in range(0, entry.size, _CHUNK):
            sums = _floats(files, file, entry.offset + 4 * start, min(_CHUNK, entry.size - start))
            digest.update(sums.data)
            weights = entry.weights(start, sums)
            if not ((weights >= 0) & (weights <= LARGEST)).all():
                odd = weights[~((weights >= 0) & (weights <= LARGEST))][0]
                _refuse(file, f"{entry.name} has the value {odd:g}, expected a mean square, from 0 to {LARGEST:.0g}")
    return digest.hexdigest()


def _floats(files: Files, file: FileFacts, offset: int, count: int) -> Weights:
    values = np.empty(count, "<f4")
    files.readinto(file, offset, values)
    return values.astype(np.float32, copy=False)


def _short(text: str) -> Value:
    return Value(ValueType.STRING, text.encode(errors="replace")[:_MAX_STRING_BYTES].decode(errors="ignore"))


def _refuse(file: FileFacts, found: str, advice: str = _DAMAGED) -> NoReturn:
    raise CheckpointError(file.name, found, advice)
