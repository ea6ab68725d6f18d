"""Every key of a file against what config and tokenizer make: presence, type, value, array items one by one."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.encodings import PLAIN
from deepgguf.encodings.fp8 import Fp8
from deepgguf.errors import printable
from deepgguf.formats.gguf.types import FileType, GGMLType, GGUFHeader, Value, ValueType
from deepgguf.models.family import KeyFacts
from deepgguf.models.match import Model
from deepgguf.models.storage import F32
from deepgguf.verification.counterparts import Counterparts
from deepgguf.verification.report import Difference

# Keys whose presence and value are free, with their types: what is said of a model, and of an importance matrix.
_FREE = (
    (r"general\.(tags|languages)", (ValueType.ARRAY, ValueType.STRING)),
    (r"general\.(base_model|dataset)\.count", (ValueType.UINT32, None)),
    (r"general\.(base_model|dataset)\.\d+\.[a-z_]+", (ValueType.STRING, None)),
    (
        r"general\.(name|size_label|version|organization|basename|finetune|author|description"
        r"|license|license\.name|license\.link|source\.(url|doi|uuid|repo_url))",
        (ValueType.STRING, None),
    ),
    (r"quantize\.imatrix\.(file|dataset)", (ValueType.STRING, None)),
    (r"quantize\.imatrix\.(entries|chunks)_count", (ValueType.UINT32, None)),
)
_FILE_TYPE = "general.file_type"
_MIXTURES: frozenset[int] = frozenset(FileType) - {FileType.F32, FileType.F16, FileType.BF16}


def key_differences(
    headers: Sequence[GGUFHeader], checkpoint: Checkpoint, model: Model, found: Counterparts
) -> list[Difference]:
    """All keys of the first file, which has the model's, and that the others have only those of the split."""
    keys = {name: value for name, value in headers[0].keys.items() if not name.startswith("split.")}
    differences = [*_compare(keys, _expected(checkpoint, model, found)), *_file_type(keys, headers, found)]
    for header in headers[1:]:
        for name in header.keys:
            if not name.startswith("split."):
                where = f"key {printable(name)}"
                differences.append(Difference(where, f"is in {printable(header.path)}, not in the first file"))
    return differences


def _expected(checkpoint: Checkpoint, model: Model, found: Counterparts) -> dict[str, Value]:
    """Every key whose value follows from the checkpoint, but for general.file_type."""
    file = found.target.files[found.kind]
    fp8_tensors = tuple(
        pair.tensor.name for pair in found.pairs if any(isinstance(s.encoding.form, Fp8) for s in pair.sources)
    )
    parameters = (0, 0, 0, 0)  # only the size label is made of them, and that is free
    facts = KeyFacts(checkpoint, file.architecture, fp8_tensors, parameters)
    return {name: value for name, value in file.keys(model.config, facts).items() if _free_type(name) is None}


def _free_type(name: str) -> tuple[ValueType, ValueType | None] | None:
    return next((type for pattern, type in _FREE if re.fullmatch(pattern, name)), None)


def _compare(keys: Mapping[str, Value], expected: Mapping[str, Value]) -> Iterator[Difference]:
    for name, value in expected.items():
        where = f"key {printable(name)}"
        if name not in keys:
            yield Difference(where, "is missing", _shown(value), "no such key")
        elif _type(keys[name]) != _type(value):
            yield Difference(where, "the type", _type_name(value), _type_name(keys[name]))
        else:
            yield from _value_difference(where, value, keys[name])
    for name, value in keys.items():
        if name in expected or name == _FILE_TYPE:
            continue
        where = f"key {printable(name)}"
        free = _free_type(name)
        if free is None:
            yield Difference(where, "is extra", "no such key", _shown(value))
        elif free != _type(value):
            yield Difference(where, "the type", _type_name(Value(free[0], None, free[1])), _type_name(value))


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
    if theirs == ours:  # vocabularies have 100,000 items
        return
    item = expected.item_type or ValueType.STRING
    wrong = [i for i, pair in enumerate(zip(theirs, ours, strict=True)) if not _equal(item, *pair)]
    if wrong:
        text = f"{len(wrong):,} of {len(ours):,} items differ"
        yield Difference(f"{where}, item {wrong[0]}", text, _item(theirs[wrong[0]]), _item(ours[wrong[0]]))


def _equal(type: ValueType, expected: object, found: object) -> bool:
    """FLOAT32 after one rounding of what is expected."""
    if type is ValueType.FLOAT32 and isinstance(expected, float | int) and isinstance(found, float):
        return bool(np.float32(expected) == np.float32(found))
    return expected == found


def _file_type(keys: Mapping[str, Value], headers: Sequence[GGUFHeader], found: Counterparts) -> Iterator[Difference]:
    possible = _possible_file_types(headers, found)
    value = keys.get(_FILE_TYPE)
    if value is None or value.type is not ValueType.UINT32 or value.value not in possible:
        expected = " or ".join(str(int(number)) for number in sorted(possible))
        shown = _shown(value) if value else "no such key"
        yield Difference(f"key {_FILE_TYPE}", "by the tensors' types", f"UINT32 {expected}", shown)


def _possible_file_types(headers: Sequence[GGUFHeader], found: Counterparts) -> frozenset[int]:
    """Any mixture's for quantized tensors; else that of most weights, or of a matrix: of what was asked for."""
    weights: Counter[GGMLType] = Counter()
    for header in headers:
        for tensor in header.tensors:
            weights[tensor.type] += math.prod(tensor.shape)
    if not PLAIN.issuperset(weights):
        return _MIXTURES
    types = {pair.tensor.type for pair in found.pairs if not pair.always_f32}
    most = weights.most_common(1)[0][0] if weights else F32
    return frozenset(found.target.file_types[type] for type in {most, *types})


def _type(value: Value) -> tuple[ValueType, ValueType | None]:
    return value.type, value.item_type


def _type_name(value: Value) -> str:
    return f"ARRAY of {value.item_type.name}" if value.item_type is not None else value.type.name


def _shown(value: Value) -> str:
    items = value.value
    return f"{len(items):,} items" if isinstance(items, list) else _item(items)


def _item(value: object) -> str:
    return printable(repr(value), 60)
