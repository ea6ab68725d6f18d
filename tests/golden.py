"""A written GGUF described as the files of tests/goldens describe theirs, read by the package `gguf`."""

import hashlib
import json
import mmap
from pathlib import Path
from typing import Any, NamedTuple

from gguf import GGUFReader

GOLDENS = Path(__file__).parent / "goldens"
LONGEST_WHOLE_ARRAY = 16


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
    raw = json.loads((GOLDENS / folder / f"{name}.json").read_text())
    keys = {key: (value["type"], value["value"]) for key, value in raw["kv"].items()}
    return Golden(keys, [GoldenTensor(**{**t, "shape": tuple(t["shape"])}) for t in raw["tensors"]])


def describe_written(path: Path) -> Golden:
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


def _short(value: Any) -> Any:
    if isinstance(value, list) and len(value) > LONGEST_WHOLE_ARRAY:
        text = json.dumps(value, ensure_ascii=False)
        return {"len": len(value), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return value
