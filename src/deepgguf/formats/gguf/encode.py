"""Keys and tensor infos to the bytes of a GGUF header."""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn

from deepgguf.errors import CheckpointError, printable
from deepgguf.formats.gguf.types import (
    ALIGNMENT,
    MAGIC,
    MAX_ARRAY_ITEMS,
    MAX_DIMENSIONS,
    MAX_HEADER_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    MAX_NAME_BYTES,
    MAX_TENSORS,
    VERSION,
    GGMLType,
    TensorInfo,
    Value,
    ValueType,
    row_bytes,
)

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_TOO_MUCH = "no engine has a use for so much: look for the damage in the checkpoint"
_MAX_DATA = 2**63 - 1  # engines and file systems count in signed 64 bits

_FORMATS = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}


def lay_out(tensors: Iterable[tuple[str, GGMLType, Sequence[int]]]) -> tuple[TensorInfo, ...]:
    """Give each (name, type, shape) its size and its offset: the running sum of the padded sizes.

    Shapes are row-major. Raises CheckpointError for what the format or its engines cannot hold: a name that is empty,
    of more than 63 bytes, with a NUL, or given twice; no or more than four dimensions; a dimension below 1; a row that
    is not a whole number of the type's blocks; 2⁶³ bytes of data.
    """
    infos: list[TensorInfo] = []
    names: set[str] = set()
    offset = 0
    for name, type, shape in tensors:
        _check_name(name, names)
        names.add(name)
        nbytes = _tensor_bytes(name, type, shape)
        infos.append(TensorInfo(name, type, tuple(shape), offset, nbytes))
        offset = padded(offset + nbytes)
        if offset > _MAX_DATA:
            raise CheckpointError(f"output tensor {name}", f"the file's data would reach {offset} bytes, over 2^63 - 1")
    return tuple(infos)


def encode_header(keys: Mapping[str, Value], tensors: Sequence[TensorInfo]) -> bytes:
    """The whole header, padded so that its length is the data section's offset; keys and tensors in the given order.

    Raises CheckpointError for a value that its type cannot hold, and for more than readers take (`types`).
    """
    _check_counts(keys, tensors)
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(keys))]
    for key, value in keys.items():
        parts += _encode_pair(key, value)
    for tensor in tensors:
        parts += _encode_tensor(tensor)
    header = b"".join(parts)
    if len(header) > MAX_HEADER_BYTES:
        largest = max(keys, key=lambda key: sum(map(len, _encode_pair(key, keys[key]))), default="")
        found = f"with it the header has {len(header):,} bytes, and readers take {MAX_HEADER_BYTES:,}"
        raise CheckpointError(f"output key {largest!r}", found, _TOO_MUCH)
    return header.ljust(padded(len(header)), b"\0")


def _check_counts(keys: Mapping[str, Value], tensors: Sequence[TensorInfo]) -> None:
    items = sum(len(value.value) for value in keys.values() if isinstance(value.value, tuple | list))
    for what, count, limit in (
        ("keys", len(keys), MAX_KEYS),
        ("tensors", len(tensors), MAX_TENSORS),
        ("items of arrays", items, MAX_ARRAY_ITEMS),
    ):
        if count > limit:
            raise CheckpointError("output header", f"{count:,} {what}, and readers take {limit:,}", _TOO_MUCH)


def padded(size: int) -> int:
    """`size` bytes and the padding after them."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _check_name(name: str, names: set[str]) -> None:
    where = f"output tensor {name!r}"
    encoded = _encode_text(name, where)
    if not encoded:
        raise CheckpointError("output tensors", "a tensor has an empty name")
    if len(encoded) > MAX_NAME_BYTES:
        raise CheckpointError(where, f"the name has {len(encoded)} bytes, and GGUF's engines hold {MAX_NAME_BYTES}")
    if b"\0" in encoded:
        raise CheckpointError(where, "the name contains a NUL, where the engines would end it")
    if name in names:
        raise CheckpointError(where, "two tensors have this name", "the checkpoint holds the tensor twice")


def _tensor_bytes(name: str, type: GGMLType, shape: Sequence[int]) -> int:
    where = f"output tensor {name}"
    if not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise CheckpointError(where, f"has {len(shape)} dimensions, and GGUF holds 1 to {MAX_DIMENSIONS}")
    if min(shape) < 1:
        raise CheckpointError(where, f"has the shape {list(shape)}, and every dimension must be at least 1")
    try:
        nbytes = row_bytes(type, shape[-1])
    except ValueError as error:
        raise CheckpointError(where, str(error), "choose another type for this tensor") from None
    for dimension in shape[:-1]:
        nbytes *= dimension
    return nbytes


def _encode_pair(key: str, value: Value) -> Iterator[bytes]:
    where = f"output key {key!r}"
    encoded = _encode_text(key, where)
    if not 1 <= len(encoded) <= MAX_KEY_BYTES:
        raise CheckpointError(where, f"the key has {len(encoded)} bytes, and GGUF holds 1 to {MAX_KEY_BYTES}")
    yield _U64.pack(len(encoded))
    yield encoded
    yield _U32.pack(value.type)
    if value.type is ValueType.ARRAY:
        yield from _encode_array(where, value)
    else:
        yield from _encode_items(where, value.type, (value.value,))


def _encode_array(where: str, value: Value) -> Iterator[bytes]:
    if not isinstance(value.value, tuple | list) or value.item_type in (None, ValueType.ARRAY):
        raise ValueError(f"{where}: an array needs a tuple or list and the type of its items, which is not ARRAY")
    yield _U32.pack(value.item_type)
    yield _U64.pack(len(value.value))
    yield from _encode_items(where, value.item_type, value.value)


def _encode_items(where: str, type: ValueType, items: Sequence[object]) -> Iterable[bytes]:
    if type is ValueType.STRING:
        return _encode_strings(where, items)
    if type is ValueType.BOOL and not all(isinstance(item, bool) for item in items):
        _refuse(where, type, items, "")
    try:
        packed = struct.pack(f"<{len(items)}{_FORMATS[type]}", *items)
    except (struct.error, OverflowError) as error:
        _refuse(where, type, items, f" ({error})")
    if type is ValueType.FLOAT32 and memoryview(packed).cast("f").tolist().count(0) != items.count(0):
        _refuse(where, type, items, " (too small: it would become 0)")
    return (packed,)


def _encode_strings(where: str, strings: Sequence[object]) -> Iterable[bytes]:
    """Each string as its length in bytes (uint64) and its UTF-8; built by slices, since a vocabulary has 130,000."""
    try:
        encoded = [string.encode() for string in strings]  # type: ignore[attr-defined]
    except (AttributeError, UnicodeEncodeError):
        for index, string in enumerate(strings):
            _encode_text(string, _item(where, index, strings))
        raise
    if b"\0" in b"".join(encoded):
        index = next(i for i, text in enumerate(encoded) if b"\0" in text)
        found = f"{printable(repr(strings[index]), 80)} holds a NUL, where the engines would end it"
        raise CheckpointError(_item(where, index, strings), found, "fix the text in the checkpoint")
    parts = [b""] * (2 * len(encoded))
    parts[0::2] = map(_U64.pack, map(len, encoded))
    parts[1::2] = encoded
    return (b"".join(parts),)


def _item(where: str, index: int, items: Sequence[object]) -> str:
    return f"{where}, item {index}" if len(items) > 1 else where


def _encode_text(text: object, where: str) -> bytes:
    if not isinstance(text, str):
        raise CheckpointError(where, f"{printable(repr(text), 80)} is not a string")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        found = f"{printable(ascii(text), 80)} has the lone surrogate U+{ord(text[error.start]):04X} at {error.start}"
        raise CheckpointError(where, f"{found}, which UTF-8 cannot hold", "fix the text in the checkpoint") from None


def _refuse(where: str, type: ValueType, items: Sequence[object], reason: str) -> NoReturn:
    shown = printable(repr(items[0] if len(items) == 1 else list(items[:8])), 80)
    raise CheckpointError(where, f"{shown} does not fit the type {type.name}{reason}")


def _encode_tensor(tensor: TensorInfo) -> Iterator[bytes]:
    name = tensor.name.encode()
    yield _U64.pack(len(name))
    yield name
    dimensions = len(tensor.shape)
    yield struct.pack(f"<I{dimensions}QIQ", dimensions, *reversed(tensor.shape), tensor.type, tensor.offset)
