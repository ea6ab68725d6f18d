"""The choices that a file was made by: what the caller says, else its manifest, else what it shows by itself."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from deepgguf.checkpoint.importance import ImportanceEntry, ImportanceFile, ImportanceMatrix
from deepgguf.choices import Mtp
from deepgguf.encodings import PLAIN, WRITTEN
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.gguf.types import FileType, GGMLType, GGUFHeader, Value, ValueType
from deepgguf.planning.options import TYPES, Options
from deepgguf.recipes.patterns import TypePattern
from deepgguf.tensors.view import Shape

IMPORTANCE_KEYS = "quantize.imatrix."
MATRIX_NAME = f"{IMPORTANCE_KEYS}file"
ENTRIES_COUNT = f"{IMPORTANCE_KEYS}entries_count"

FILE_TYPE = "general.file_type"
_MTP_KEY = ".nextn_predict_layers"

# Choices of single tensors' types.
_OF_TENSORS = ("tensor_types", "output_tensor_type", "token_embedding_type")


def possible_choices(
    headers: Sequence[GGUFHeader], shapes: Mapping[str, Shape], told: str, given: Mapping[str, Any], files: Files
) -> Iterator[Options]:
    """The choices by which the files may have been made, in the order in which they are believed.

    `given` has the parsed choices of the caller, `told` the type that the manifest names; `shapes` are those that all
    tensors must have.
    """
    importance = given.get("imatrix") or _stand_in(headers, shapes, files)
    for type in [given["type"]] if "type" in given else _types(headers, told):
        options = Options(**{"imatrix": importance, **given, "type": type})
        yield options if "type" in given else options.of_type(type)


def with_types_of(headers: Sequence[GGUFHeader], options: Options, given: Mapping[str, Any]) -> Options | None:
    """The same with the type of every tensor chosen as the files have it; None if that cannot have been."""
    if options.recipe is None or any(name in given for name in _OF_TENSORS):
        return None
    patterns = [
        TypePattern(f"^{re.escape(name)}$", type) for name, type in types_of(headers).items() if type in WRITTEN
    ]
    return msgspec.structs.replace(options, tensor_types=tuple(patterns))


def types_of(headers: Sequence[GGUFHeader]) -> dict[str, GGMLType]:
    """The types of all tensors by name."""
    return {tensor.name: tensor.type for header in headers for tensor in header.tensors}


def mtp_of(headers: Sequence[GGUFHeader]) -> Mtp:
    """What became of the layers of multi-token prediction; a file of them alone has no block 0 (deepseek2.cpp)."""
    layers = [value.value for name, value in headers[0].keys.items() if name.endswith(_MTP_KEY)]
    if not any(layers):
        return "drop"
    return "keep" if any(name.startswith("blk.0.") for name in types_of(headers)) else "only"


def drafts(headers: Sequence[GGUFHeader]) -> bool:
    """Whether it is a model that drafts for another (dflash.cpp)."""
    value = headers[0].keys.get("general.architecture")
    return value is not None and value.value == "dflash"


def names_importance(headers: Sequence[GGUFHeader]) -> bool:
    """Whether the files say that they were quantized by an importance matrix."""
    return any(name.startswith(IMPORTANCE_KEYS) for name in headers[0].keys)


def _types(headers: Sequence[GGUFHeader], told: str) -> list[str]:
    value = headers[0].keys.get(FILE_TYPE)
    by_number = {int(number): number.name.lower() for number in FileType}
    said = by_number.get(value.value, "") if value and isinstance(value.value, int) else ""
    if PLAIN.issuperset(types_of(headers).values()):
        said = "auto"
    believed = [type for type in (told, said) if type in TYPES]
    return list(dict.fromkeys([*believed, *TYPES]))


def _stand_in(headers: Sequence[GGUFHeader], shapes: Mapping[str, Shape], files: Files) -> ImportanceMatrix | None:
    """A matrix without values that has data for every tensor, for files that name one that is not at hand."""
    if not names_importance(headers):
        return None
    keys = headers[0].keys
    sizes = {name: math.prod(shape[:-2]) * shape[-1] for name, shape in shapes.items()}
    entries = {name: ImportanceEntry(name, 0, size, (1,)) for name, size in sizes.items()}
    name, dataset = (_text(keys.get(f"{IMPORTANCE_KEYS}{what}")) for what in ("file", "dataset"))
    chunks = keys.get(f"{IMPORTANCE_KEYS}chunks_count")
    count = chunks.value if chunks and isinstance(chunks.value, int) else 0
    source = ImportanceFile(files, FileFacts(name, 0, ""), "")
    return ImportanceMatrix(source, entries, (dataset,) if dataset else (), count)


def _text(value: Value | None) -> str:
    return value.value if value and value.type is ValueType.STRING and isinstance(value.value, str) else ""
