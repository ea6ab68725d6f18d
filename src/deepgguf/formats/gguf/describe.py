"""What GGUF headers say, as a description for people and for JSON."""

import math
from collections.abc import Mapping, Sequence

import msgspec

from deepgguf.formats.gguf.types import FileType, ForkTensor, GGUFHeader, TensorInfo, Value, ValueType

LONGEST_WHOLE_ARRAY = 16
_SHOWN_ITEMS = 8
# File types that say what every matrix is; the others are mixtures, or may be.
_PLAIN = ("F32", "F16", "BF16")


class FileDescription(msgspec.Struct, frozen=True):
    """One file; sizes and offsets in bytes from its start."""

    path: str
    version: int
    alignment: int
    data_offset: int
    size: int
    tensors: int


class KeyDescription(msgspec.Struct, frozen=True):
    """One key. Of an array, `length` is the number of items; with more than 16, `value` is the first eight."""

    name: str
    type: str
    value: object
    item_type: str | None = None
    length: int | None = None


class TypeDescription(msgspec.Struct, frozen=True):
    """All tensors of one type together; `bytes` without padding."""

    type: str
    tensors: int
    parameters: int
    bytes: int


class TensorDescription(msgspec.Struct, frozen=True):
    """One tensor; `shape` is row-major, `offset` in bytes from the start of its file's data section."""

    name: str
    type: str
    shape: tuple[int, ...]
    parameters: int
    offset: int
    bytes: int
    file: int


class Description(msgspec.Struct, frozen=True):
    """A model in one file, or in a split set. None is for what the file does not say.

    `file_type` is what the key `general.file_type` says. `true_type` is the type to call the model by: the same, but
    what most bytes are in where the key says F32, F16 or BF16 and no tensor has that type. Ollama has no number for
    BF16 and says F16 of such files.

    `bits_per_weight` is the data of all tensors over all parameters; None for a file without tensors. The `file` of a
    tensor is its number in `files`, from 0.
    """

    architecture: str | None
    name: str | None
    file_type: str | None
    true_type: str | None
    size: int
    parameters: int
    bits_per_weight: float | None
    files: tuple[FileDescription, ...]
    types: tuple[TypeDescription, ...]
    keys: tuple[KeyDescription, ...]
    tensors: tuple[TensorDescription, ...]


def describe(headers: Sequence[GGUFHeader]) -> Description:
    """Describe the files of one model, which are one, or all of a split set in order; its keys are the first file's."""
    keys = headers[0].keys
    tensors = tuple(_tensor(t, number) for number, header in enumerate(headers) for t in header.all_tensors)
    parameters = sum(tensor.parameters for tensor in tensors)
    data = sum(tensor.bytes for tensor in tensors)
    said, types = file_type_name(keys), _types(tensors)
    return Description(
        architecture=_text(keys, "general.architecture"),
        name=_text(keys, "general.name"),
        file_type=said,
        true_type=true_type(said, {total.type: total.bytes for total in types}),
        size=sum(header.file_size for header in headers),
        parameters=parameters,
        bits_per_weight=data * 8 / parameters if parameters else None,
        files=tuple(_file(header) for header in headers),
        types=types,
        keys=tuple(describe_key(name, value) for name, value in keys.items()),
        tensors=tensors,
    )


def _text(keys: Mapping[str, Value], name: str) -> str | None:
    value = keys.get(name)
    return value.value if value is not None and isinstance(value.value, str) else None


def file_type_name(keys: Mapping[str, Value]) -> str | None:
    """What `general.file_type` says the file is, such as "Q4_K_M"; None if it says nothing."""
    value = keys.get("general.file_type")
    if value is None or not isinstance(value.value, int):
        return None
    return {type.value: type.name for type in FileType}.get(value.value, f"unknown ({value.value})")


def true_type(said: str | None, held: Mapping[str, int]) -> str | None:
    """The type to call a file by, of whose tensors `held` has the bytes by type.

    It is `said`, by its key; but where that is a plain type which no tensor has, the one with the most bytes.
    """
    return max(held, key=held.__getitem__) if said in _PLAIN and held and said not in held else said


def _file(header: GGUFHeader) -> FileDescription:
    return FileDescription(
        header.path, header.version, header.alignment, header.data_offset, header.file_size, len(header.all_tensors)
    )


def _tensor(tensor: TensorInfo | ForkTensor, file: int) -> TensorDescription:
    type = tensor.type if isinstance(tensor, ForkTensor) else tensor.type.name
    return TensorDescription(
        tensor.name, type, tensor.shape, math.prod(tensor.shape), tensor.offset, tensor.nbytes, file
    )


def _types(tensors: Sequence[TensorDescription]) -> tuple[TypeDescription, ...]:
    """Totals by type, the type with the most bytes first."""
    groups: dict[str, list[TensorDescription]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.type, []).append(tensor)
    totals = [
        TypeDescription(type, len(group), sum(t.parameters for t in group), sum(t.bytes for t in group))
        for type, group in groups.items()
    ]
    return tuple(sorted(totals, key=lambda total: (-total.bytes, total.type)))


def describe_key(name: str, value: Value) -> KeyDescription:
    """One key; of a long array the beginning."""
    if value.type is not ValueType.ARRAY or not isinstance(value.value, list | tuple):
        return KeyDescription(name, value.type.name, value.value)
    items = list(value.value)
    shown = items if len(items) <= LONGEST_WHOLE_ARRAY else items[:_SHOWN_ITEMS]
    item_type = value.item_type.name if value.item_type is not None else None
    return KeyDescription(name, value.type.name, shown, item_type, len(items))
