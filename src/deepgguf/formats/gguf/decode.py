"""The bytes of a GGUF header to keys and tensor infos, with no trust in them.

Shares no code with `encode`, so that an error there is found here. Every number of the file is compared with what the
file can hold before it is used, and nothing is allocated by a number that was only claimed: memory follows the header's
real size, which has limits of its own (`MAX_HEADER_BYTES` and others in `types`).

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, and what llama.cpp (gguf.cpp,
gguf_init_from_reader) demands beyond it: tensors in the order of their offsets, without gaps.
"""

import errno
import math
import os
import stat
import struct
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import msgspec
import numpy as np

from deepgguf.errors import GGUFError, OutputError, UsageError, printable
from deepgguf.formats.gguf.fork_types import fork_type
from deepgguf.formats.gguf.types import (
    MAX_ARRAY_ITEMS,
    MAX_DIMENSIONS,
    MAX_HEADER_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    MAX_NAME_BYTES,
    MAX_TENSORS,
    ForkTensor,
    GGMLType,
    GGUFHeader,
    TensorInfo,
    Value,
    ValueType,
    block_of,
)

Read = Callable[[int, int], bytes]
"""(offset, length) to that many bytes, or fewer at the end of the file."""

MAX_ALIGNMENT = 2**20

_CHUNK = 2**20
_SMALLEST_KEY = 8 + 1 + 4 + 1  # bytes: length, one letter, type, a UINT8
_SMALLEST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8  # bytes: length, one letter, dimensions, one dimension, type, offset
_DAMAGED = "the file is damaged or not what it seems: download or convert it again"

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

# gguf.md, enum gguf_metadata_value_type, as NumPy has the types.
_DTYPES: dict[ValueType, np.dtype[Any]] = {
    ValueType.UINT8: np.dtype("u1"),
    ValueType.INT8: np.dtype("i1"),
    ValueType.UINT16: np.dtype("<u2"),
    ValueType.INT16: np.dtype("<i2"),
    ValueType.UINT32: np.dtype("<u4"),
    ValueType.INT32: np.dtype("<i4"),
    ValueType.FLOAT32: np.dtype("<f4"),
    ValueType.BOOL: np.dtype("u1"),
    ValueType.UINT64: np.dtype("<u8"),
    ValueType.INT64: np.dtype("<i8"),
    ValueType.FLOAT64: np.dtype("<f8"),
}

# ggml.h: numbers whose types were taken out of the format again.
_REMOVED_TYPES = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}


def read_header(path: str | os.PathLike[str], *, forks: bool = False) -> GGUFHeader:
    """The header of a file, with the tensors of types that only forks of ggml have if `forks`.

    Raises GGUFError for everything that is wrong with its content (with the byte where it is), UsageError where there
    is no such file, OutputError where it cannot be read.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise UsageError(path, "no such file") from None
        raise OutputError(path, f"cannot be opened: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise GGUFError(path, "is not a regular file", "name a GGUF file")
        read: Read = lambda offset, length: os.pread(descriptor, length, offset)  # noqa: E731
        return decode_header(read, status.st_size, str(path), forks=forks)
    except OSError as error:
        raise OutputError(path, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def decode_header(read: Read, size: int, path: str = "GGUF", *, forks: bool = False) -> GGUFHeader:
    """The header of a file of `size` bytes; `path` is its name in errors.

    Tensors of types that only forks of ggml have are refused unless `forks`. Shapes come out row-major; arrays are
    lists. Raises GGUFError.
    """
    cursor = _Cursor(read, size, path)
    version, tensor_count, key_count = _preamble(cursor)
    keys = _keys(cursor, key_count)
    alignment = _alignment(cursor, keys)
    found = _tensors(cursor, tensor_count, alignment, forks=forks)
    data_offset = _padded(cursor.position, alignment)
    found = _with_sizes(found, size - data_offset)
    _check_extent(cursor, found, data_offset, alignment)
    tensors = tuple(t for t in found if isinstance(t, TensorInfo))
    others = tuple(t for t in found if isinstance(t, ForkTensor))
    return GGUFHeader(path, version, alignment, data_offset, keys, tensors, size, others)


class _Cursor:
    """A place in the header. Reads on in chunks and keeps only what is not yet used."""

    def __init__(self, read: Read, size: int, path: str) -> None:
        self.size = size
        self.items_left = MAX_ARRAY_ITEMS
        self._read = read
        self._path = path
        self._buffer = b""
        self._start = 0  # the buffer's first byte, as an offset in the file
        self._at = 0

    @property
    def position(self) -> int:
        """Bytes from the file's start."""
        return self._start + self._at

    @property
    def left(self) -> int:
        """Bytes from here to the file's end."""
        return self.size - self.position

    def refuse(self, found: str, advice: str = _DAMAGED, at: int | None = None) -> NoReturn:
        """Raise GGUFError for what is at byte `at`, or here."""
        raise GGUFError(f"{self._path}, byte {self.position if at is None else at}", found, advice)

    def take(self, length: int, what: str) -> memoryview:
        """The next `length` bytes, which are `what`."""
        if self._at + length > len(self._buffer):
            self._fill(length, what)
        start = self._at
        self._at += length
        return memoryview(self._buffer)[start : self._at]

    def u32(self, what: str) -> int:
        number: int = _U32.unpack(self.take(4, what))[0]
        return number

    def u64(self, what: str) -> int:
        number: int = _U64.unpack(self.take(8, what))[0]
        return number

    def text(self, what: str, limit: int) -> str:
        """A string: its length in bytes as uint64, then UTF-8."""
        start = self.position
        length = self.u64(f"the length of {what}")
        if length > self.left:
            self.refuse(f"{what} is said to have {length} bytes, and the file has {self.left} more", at=start)
        if length > limit:
            self.refuse(f"{what} is said to have {length} bytes, and {limit} are allowed", at=start)
        try:
            return str(self.take(length, what), "utf-8")
        except UnicodeDecodeError as error:
            self.refuse(f"{what} is not UTF-8 ({error.reason})", at=start + 8 + error.start)

    def whole_texts(self, most: int) -> list[str]:
        """At most `most` strings, as many as lie complete and sound in the buffer; the loop that must be fast."""
        texts: list[str] = []
        buffer, at, end = self._buffer, self._at, len(self._buffer)
        length_at = _U64.unpack_from
        try:
            while len(texts) < most and at + 8 <= end:
                stop = at + 8 + length_at(buffer, at)[0]
                if stop > end:
                    break
                texts.append(str(buffer[at + 8 : stop], "utf-8"))
                at = stop
        except UnicodeDecodeError:
            pass  # the caller takes this one by itself, and reports it
        self._at = at
        return texts

    def _fill(self, length: int, what: str) -> None:
        if length > self.left:
            self.refuse(f"the file ends after {self.left} of the {length} bytes of {what}")
        if self.position + length > MAX_HEADER_BYTES:
            self.refuse(f"with {what}, the header is longer than {MAX_HEADER_BYTES} bytes")
        rest = self._buffer[self._at :]
        self._start, self._at = self.position, 0
        wanted = min(max(length, _CHUNK), self.left) - len(rest)
        self._buffer = rest + self._read(self._start + len(rest), wanted)
        if len(self._buffer) < length:
            self.refuse(f"the file ended while {what} was read", "something else is writing to it: wait until it ends")


def _padded(position: int, alignment: int) -> int:
    return (position + alignment - 1) // alignment * alignment


def _preamble(cursor: _Cursor) -> tuple[int, int, int]:
    """Magic, version, counts: 24 bytes."""
    if cursor.size < 24:
        cursor.refuse(f"the file has {cursor.size} bytes, and the shortest GGUF has 24")
    magic = bytes(cursor.take(4, "the magic"))
    if magic != b"GGUF":
        cursor.refuse(f"starts with {magic!r}, where a GGUF file has b'GGUF'", "this is not a GGUF file", at=0)
    version = cursor.u32("the version")
    if version not in (2, 3):
        _refuse_version(cursor, version)
    tensors = cursor.u64("the number of tensors")
    keys = cursor.u64("the number of keys")
    _check_count(cursor, 8, "tensors", tensors, _SMALLEST_TENSOR, MAX_TENSORS)
    _check_count(cursor, 16, "keys", keys, _SMALLEST_KEY, MAX_KEYS)
    return version, tensors, keys


def _refuse_version(cursor: _Cursor, version: int) -> NoReturn:
    swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
    if swapped in (2, 3):
        cursor.refuse("the file is big-endian, and only little-endian GGUF is read", "convert it again", at=4)
    cursor.refuse(f"GGUF version {version}, and only 2 and 3 are known", "convert the model again", at=4)


def _check_count(cursor: _Cursor, at: int, what: str, count: int, smallest: int, limit: int) -> None:
    if count * smallest > cursor.left:
        cursor.refuse(f"{count} {what} cannot be in a file with {cursor.left} more bytes", at=at)
    if count > limit:
        cursor.refuse(f"{count} {what}, and {limit} are allowed", at=at)


def _keys(cursor: _Cursor, count: int) -> dict[str, Value]:
    keys: dict[str, Value] = {}
    for number in range(count):
        start = cursor.position
        key = cursor.text(f"the name of key {number + 1} of {count}", MAX_KEY_BYTES)
        shown = printable(repr(key), 80)
        if not key or "\0" in key:
            cursor.refuse(f"key {number + 1} of {count} has the name {shown}, empty or with a NUL", at=start)
        if key in keys:
            cursor.refuse(f"key {shown} appears twice", at=start)
        keys[key] = _value(cursor, f"key {shown}")
    return keys


def _value_type(cursor: _Cursor, what: str) -> ValueType:
    number = cursor.u32(f"the type of {what}")
    try:
        return ValueType(number)
    except ValueError:
        cursor.refuse(f"{what} has type {number}, and GGUF has 0 to 12", at=cursor.position - 4)


def _value(cursor: _Cursor, what: str) -> Value:
    type = _value_type(cursor, what)
    if type is ValueType.ARRAY:
        item_type = _value_type(cursor, f"the items of {what}")
        if item_type is ValueType.ARRAY:
            at = cursor.position - 4
            cursor.refuse(f"{what} is an array of arrays, which no engine reads", "write it as a flat array", at=at)
        return Value(type, _items(cursor, item_type, what), item_type)
    if type is ValueType.STRING:
        return Value(type, cursor.text(f"the value of {what}", MAX_HEADER_BYTES))
    return Value(type, _numbers(cursor, type, 1, f"the value of {what}")[0])


def _items(cursor: _Cursor, type: ValueType, what: str) -> list[object]:
    start = cursor.position
    count = cursor.u64(f"the length of {what}")
    smallest = 8 if type is ValueType.STRING else _DTYPES[type].itemsize
    if count * smallest > cursor.left:
        cursor.refuse(f"{what} is said to have {count} items, and the file has {cursor.left} more bytes", at=start)
    if count > cursor.items_left:
        cursor.refuse(f"with the {count} items of {what}, there are more than {MAX_ARRAY_ITEMS} in arrays", at=start)
    cursor.items_left -= count
    return _texts(cursor, count, what) if type is ValueType.STRING else _numbers(cursor, type, count, what)


def _numbers(cursor: _Cursor, type: ValueType, count: int, what: str) -> list[object]:
    dtype = _DTYPES[type]
    start = cursor.position
    numbers = np.frombuffer(cursor.take(count * dtype.itemsize, what), dtype)
    if type is ValueType.BOOL:
        if count and numbers.max() > 1:
            index = int((numbers > 1).argmax())
            cursor.refuse(f"{what} holds {numbers[index]} where a BOOL is 0 or 1", at=start + index)
        numbers = numbers.astype(np.bool_)
    items: list[object] = numbers.tolist()
    return items


def _texts(cursor: _Cursor, count: int, what: str) -> list[object]:
    texts: list[object] = []
    while True:
        texts += cursor.whole_texts(count - len(texts))
        if len(texts) == count:
            return texts
        texts.append(cursor.text(f"item {len(texts)} of {what}", MAX_HEADER_BYTES))


def _alignment(cursor: _Cursor, keys: dict[str, Value]) -> int:
    value = keys.get("general.alignment")
    if value is None:
        return 32
    if value.type is not ValueType.UINT32 or not isinstance(value.value, int):
        cursor.refuse(f"general.alignment has type {value.type.name}, and must be UINT32")
    alignment = value.value
    if not 8 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        cursor.refuse(f"general.alignment is {alignment}, and must be a power of two from 8 to {MAX_ALIGNMENT}")
    return alignment


def _tensors(cursor: _Cursor, count: int, alignment: int, *, forks: bool) -> list[TensorInfo | ForkTensor]:
    """Tensors of a fork's types without their sizes, which nobody here knows."""
    tensors: list[TensorInfo | ForkTensor] = []
    names: set[str] = set()
    expected = 0
    for number in range(count):
        start = cursor.position
        name = cursor.text(f"the name of tensor {number + 1} of {count}", MAX_NAME_BYTES)
        shown = printable(repr(name), 80)
        if not name or "\0" in name:
            cursor.refuse(f"tensor {number + 1} of {count} has the name {shown}, empty or with a NUL", at=start)
        if name in names:
            cursor.refuse(f"tensor {shown} appears twice", at=start)
        names.add(name)
        tensor = _tensor(cursor, name, f"tensor {shown}", forks=forks)
        if tensors and isinstance(tensors[-1], ForkTensor):  # it reaches to wherever the next one begins
            expected = max(expected, tensor.offset // alignment * alignment)
        _check_offset(cursor, tensor, f"tensor {shown}", expected, alignment)
        tensors.append(tensor)
        expected = _padded(tensor.offset + max(tensor.nbytes, 1), alignment)
    return tensors


def _with_sizes(tensors: list[TensorInfo | ForkTensor], data: int) -> list[TensorInfo | ForkTensor]:
    """A tensor of a fork's type reaches to the next one, the last to the end of the `data` bytes."""
    ends = [*(tensor.offset for tensor in tensors[1:]), data]
    return [
        msgspec.structs.replace(t, nbytes=max(end - t.offset, 1)) if isinstance(t, ForkTensor) else t
        for t, end in zip(tensors, ends, strict=False)
    ]


def _tensor(cursor: _Cursor, name: str, what: str, *, forks: bool) -> TensorInfo | ForkTensor:
    dimensions = cursor.u32(f"the number of dimensions of {what}")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        found = f"{what} has {dimensions} dimensions, and GGUF holds 1 to {MAX_DIMENSIONS}"
        cursor.refuse(found, at=cursor.position - 4)
    start = cursor.position
    stored = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions, f"the dimensions of {what}"))
    if 0 in stored:
        cursor.refuse(f"{what} has the dimensions {list(stored)}, and none may be 0", at=start)
    type = _tensor_type(cursor, what, forks=forks)
    offset = cursor.u64(f"the offset of {what}")
    if isinstance(type, str):
        return ForkTensor(name, type, stored[::-1], offset, 0)
    block = block_of(type)
    if stored[0] % block.weights:
        found = f"{what} has rows of {stored[0]} weights, not a whole number of {type.name} blocks of {block.weights}"
        cursor.refuse(found, at=start)
    nbytes = math.prod(stored) // block.weights * block.nbytes
    if nbytes > cursor.size:
        found = f"{what} has the dimensions {list(stored)} in {type.name}, {nbytes} bytes in a file of {cursor.size}"
        cursor.refuse(found, at=start)
    return TensorInfo(name, type, stored[::-1], offset, nbytes)


def _tensor_type(cursor: _Cursor, what: str, *, forks: bool) -> GGMLType | str:
    number = cursor.u32(f"the type of {what}")
    at = cursor.position - 4
    try:
        return GGMLType(number)
    except ValueError:
        removed, fork = _REMOVED_TYPES.get(number), fork_type(number)
    if removed:
        cursor.refuse(f"{what} has type {number}, {removed}, which ggml has removed", "convert the model again", at=at)
    if fork is None:
        cursor.refuse(f"{what} has type {number}, unknown to ggml", _DAMAGED, at=at)
    if not forks:
        advice = "the file may be sound, but only the program that it was made for can read it"
        cursor.refuse(f"{what} has type {number}, unknown to ggml: {fork}", advice, at=at)
    return fork


def _check_offset(cursor: _Cursor, tensor: TensorInfo | ForkTensor, what: str, expected: int, alignment: int) -> None:
    if tensor.offset == expected:
        return
    at = cursor.position - 8
    if tensor.offset % alignment:
        cursor.refuse(f"{what} starts at offset {tensor.offset}, not a multiple of the alignment {alignment}", at=at)
    relation = "overlaps the one before" if tensor.offset < expected else "leaves a gap after the one before"
    cursor.refuse(f"{what} starts at offset {tensor.offset} and {relation}, which ends at {expected}", at=at)


def _check_extent(
    cursor: _Cursor, tensors: Sequence[TensorInfo | ForkTensor], data_offset: int, alignment: int
) -> None:
    """The data end with the last tensor or with its padding; writers differ in that. Nothing follows."""
    data = tensors[-1].offset + tensors[-1].nbytes if tensors else 0
    end = data_offset + data if tensors else cursor.position
    if cursor.size < end:
        found = f"the tensors end at byte {end}, {end - cursor.size} bytes after the end of the file"
        cursor.refuse(found, "the download or copy was cut short: fetch it again", at=cursor.size)
    if cursor.size > data_offset + _padded(data, alignment):
        after = data_offset + _padded(data, alignment)
        cursor.refuse(f"{cursor.size - after} bytes follow the last tensor, where the file should end", at=after)
