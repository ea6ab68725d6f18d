"""A good sample checkpoint, ways to damage it, and what must come of that."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepgguf.checkpoint.shards import INDEX, open_shards
from deepgguf.errors import CheckpointError
from deepgguf.samples import make_sample

Header = dict[str, Any]
SHARDS = [f"model-0000{i}-of-000003.safetensors" for i in (1, 2, 3)]


def sample(folder: Path) -> Path:
    """An FP8 checkpoint of three shards and an index, with holes instead of data; nothing is wrong with it."""
    make_sample("v3-fp8", folder, shards=3, scatter=True, sparse=True)
    open_shards(folder)
    return folder


def refused(folder: Path) -> str:
    """The one line that refuses `folder`."""
    with pytest.raises(CheckpointError) as error:
        open_shards(folder)
    line = str(error.value)
    assert line.isprintable()
    return line


def header(shard: Path) -> Header:
    with shard.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def put_header_text(shard: Path, text: bytes, data_bytes: int | None = None) -> None:
    """Replaces the header by `text`, the data by a hole of `data_bytes`, by default of as many as there were."""
    if data_bytes is None:
        with shard.open("rb") as file:
            data_bytes = shard.stat().st_size - 8 - int.from_bytes(file.read(8), "little")
    with shard.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + data_bytes)


def edit_header(shard: Path, edit: Callable[[Header], object], data_bytes: int | None = None) -> None:
    """Lets `edit` change the header in place."""
    content = header(shard)
    edit(content)
    put_header_text(shard, json.dumps(content).encode(), data_bytes)


def edit_tensor(shard: Path, **fields: object) -> str:
    """Gives the shard's first tensor other fields; returns its name."""
    name = first_tensor(shard)
    edit_header(shard, lambda content: content[name].update(fields))
    return name


def first_tensor(shard: Path) -> str:
    return min((n for n in header(shard) if n != "__metadata__"), key=lambda n: header(shard)[n]["data_offsets"])


def edit_index(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Lets `edit` change the index in place."""
    content = json.loads((folder / INDEX).read_text())
    edit(content)
    (folder / INDEX).write_text(json.dumps(content))
