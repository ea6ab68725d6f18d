"""Header against header: keys and tensors of the files beside those that were planned, each one, and their order."""

import struct
from collections.abc import Iterator, Mapping, Sequence

from deepgguf.errors import printable
from deepgguf.formats.gguf.types import VERSION, GGMLType, GGUFHeader, TensorInfo, Value, ValueType
from deepgguf.verification.expected import ExpectedFile
from deepgguf.verification.file_bytes import CheckedFile
from deepgguf.verification.report import Difference

_FLOATS = {ValueType.FLOAT32: "<f", ValueType.FLOAT64: "<d"}


def header_against_plan(checked: Sequence[CheckedFile], expected: Sequence[ExpectedFile]) -> Iterator[Difference]:
    """Keys, versions and the order of tensors; whatever else is not as planned in a header or a file's size."""
    for file, planned in zip(checked, expected, strict=True):
        differences = [*key_differences(file.header, planned.keys), *_version(file.header)]
        yield from differences
        if not differences and _entries(file.header.tensors) == _entries(planned.tensors):
            yield from _bytes(file, planned)
    found = [name for file in checked for name in _names(file.header)]
    planned_names = [tensor.name for planned in expected for tensor in planned.tensors]
    yield from _order("tensor", planned_names, found)


def key_differences(header: GGUFHeader, expected: Mapping[str, Value]) -> Iterator[Difference]:
    """Every key that is missing, extra, of another type or value, or in another place."""
    keys = header.keys
    for name, value in expected.items():
        where = f"key {printable(name)}"
        if name not in keys:
            yield Difference(where, "is missing", _shown(value), "no such key")
        elif _type(keys[name]) != _type(value):
            yield Difference(where, "the type", _type_name(value), _type_name(keys[name]))
        else:
            yield from _value_difference(where, value, keys[name])
    for name, value in keys.items():
        if name not in expected:
            yield Difference(f"key {printable(name)}", "is extra", "no such key", _shown(value))
    yield from _order("key", list(expected), list(keys))


def _order(what: str, expected: Sequence[str], found: Sequence[str]) -> Iterator[Difference]:
    """The first of those in both that is in another place."""
    both = set(expected) & set(found)
    pairs = zip((n for n in expected if n in both), (n for n in found if n in both), strict=True)
    wrong = next((pair for pair in pairs if pair[0] != pair[1]), None)
    if wrong:
        text = f"the order: {printable(wrong[1])} comes before it"
        yield Difference(f"{what} {printable(wrong[0])}", text)


def _names(header: GGUFHeader) -> list[str]:
    return [tensor.name for tensor in header.tensors]


def _entries(tensors: Sequence[TensorInfo]) -> list[tuple[str, GGMLType, tuple[int, ...]]]:
    return [(tensor.name, tensor.type, tensor.shape) for tensor in tensors]


def _version(header: GGUFHeader) -> Iterator[Difference]:
    if header.version != VERSION:
        yield Difference(f"file {printable(header.path)}", "GGUF version", f"{VERSION}", f"{header.version}")


def _bytes(file: CheckedFile, planned: ExpectedFile) -> Iterator[Difference]:
    """What no key and no tensor's entry shows: padding, a NaN's bits, an end without padding."""
    where = f"file {printable(file.header.path)}"
    if file.header.file_size != planned.size:
        yield Difference(where, "the size in bytes", f"{planned.size:,}", f"{file.header.file_size:,}")
    found = file.data.read(0, file.header.data_offset).tobytes()
    if found != planned.header:
        at = next((i for i, pair in enumerate(zip(found, planned.header, strict=False)) if pair[0] != pair[1]), -1)
        yield Difference(where, f"byte {at:,} of the header, in its padding or in a number", "other bits")


def _value_difference(where: str, expected: Value, found: Value) -> Iterator[Difference]:
    if expected.type is not ValueType.ARRAY:
        if not _equal(expected.type, expected.value, found.value):
            yield Difference(where, "", _shown(expected), _shown(found))
        return
    theirs, ours = expected.value, found.value
    assert isinstance(theirs, list)
    assert isinstance(ours, list)
    if len(theirs) != len(ours):
        yield Difference(where, "the number of items", f"{len(theirs):,}", f"{len(ours):,}")
        return
    item = expected.item_type or ValueType.STRING
    if item not in _FLOATS and theirs == ours:  # vocabularies have 100,000 items
        return
    wrong = [i for i, pair in enumerate(zip(theirs, ours, strict=True)) if not _equal(item, *pair)]
    if wrong:
        text = f"{len(wrong):,} of {len(ours):,} items differ"
        yield Difference(f"{where}, item {wrong[0]}", text, _item(theirs[wrong[0]]), _item(ours[wrong[0]]))


def _equal(type: ValueType, expected: object, found: object) -> bool:
    """Floats bit by bit, after one rounding of what is expected: 0 is not −0."""
    if type in _FLOATS:
        return struct.pack(_FLOATS[type], expected) == struct.pack(_FLOATS[type], found)
    return expected == found


def _type(value: Value) -> tuple[ValueType, ValueType | None]:
    return value.type, value.item_type


def _type_name(value: Value) -> str:
    return f"ARRAY of {value.item_type.name}" if value.item_type is not None else value.type.name


def _shown(value: Value) -> str:
    items = value.value
    return f"{len(items):,} items" if isinstance(items, list) else _item(items)


def _item(value: object) -> str:
    return printable(repr(value), 60)
