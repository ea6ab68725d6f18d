"""A written GGUF described as the files of tests/goldens describe theirs, read by the package `gguf`."""

import hashlib
import json
import mmap
from pathlib import Path
from typing import Any, NamedTuple

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader

GOLDENS = Path(__file__).parent / "goldens"
LONGEST_WHOLE_ARRAY = 16

# Types that the package does not know yet (0.19): number, weights and bytes of a block (ggml-common.h, block_q2_0).
_NEWER_TYPES = {"Q2_0": (42, 64, 18)}


class GoldenTensor(NamedTuple):
    """`shape` in GGUF's order, the row's length first; `offset` from the begin of the data section, in bytes."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    sha256: str


class Golden(NamedTuple):
    """`keys`: name to ([type, item type if an array], value); an array of more than 16 items is (length, SHA-256)."""

    keys: dict[str, tuple[list[str], Any]]
    tensors: list[GoldenTensor]

    def by_name(self) -> dict[str, tuple[str, tuple[int, ...], str]]:
        """Type, shape and SHA-256 of every tensor, for targets that leave the order free."""
        return {t.name: (t.type, t.shape, t.sha256) for t in self.tensors}


def read_golden(folder: str, name: str) -> Golden:
    return golden_of(GOLDENS / folder / f"{name}.json")


def golden_of(path: Path) -> Golden:
    """The description in a file that is made as those of tests/goldens are."""
    raw = json.loads(path.read_text())
    keys = {key: (value["type"], value["value"]) for key, value in raw["kv"].items()}
    return Golden(keys, [GoldenTensor(**{**t, "shape": tuple(t["shape"])}) for t in raw["tensors"]])


def describe_written(path: Path) -> Golden:
    teach_newer_types()
    reader = GGUFReader(path)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    keys = {name: ([t.name for t in field.types], _short(field.contents())) for name, field in fields.items()}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        tensors = [
            GoldenTensor(
                t.name,
                t.tensor_type.name,
                tuple(t.shape.tolist()),
                int(t.data_offset - reader.data_offset),
                hashlib.sha256(view[t.data_offset : t.data_offset + int(t.n_bytes)]).hexdigest(),
            )
            for t in reader.tensors
        ]
        view.release()
    return Golden(keys, tensors)


def teach_newer_types() -> None:
    """Lets the package read types that it does not know yet."""
    for name, (number, *block) in _NEWER_TYPES.items():
        if name not in GGMLQuantizationType.__members__:
            member = int.__new__(GGMLQuantizationType, number)
            member._name_, member._value_ = name, number
            GGMLQuantizationType._member_map_[name] = GGMLQuantizationType._value2member_map_[number] = member
            GGML_QUANT_SIZES[member] = tuple(block)


def _short(value: Any) -> Any:
    if isinstance(value, list) and len(value) > LONGEST_WHOLE_ARRAY:
        text = json.dumps(value, ensure_ascii=False)
        return {"len": len(value), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return value
