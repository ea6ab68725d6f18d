"""Sound sample checkpoints, ways to damage them, and what `deepgguf` must make of the result."""

import functools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command
from command import Argument, Outcome

from deepgguf import sample as make_sample
from deepgguf.checkpoint.shards import INDEX

Header = dict[str, Any]
SHARDS = [f"model-0000{i}-of-000003.safetensors" for i in (1, 2, 3)]


def sample(folder: Path) -> Path:
    """A sound FP8 checkpoint of three shards and an index, with holes instead of data."""
    make_sample("v3-fp8", folder, shards=3, scatter=True, sparse=True)
    return folder


@functools.cache
def _made(kind: str) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """A sample with its data, made once, and the object that removes it at the end."""
    made = tempfile.TemporaryDirectory(prefix="deepgguf-hostile-")
    make_sample(kind, Path(made.name) / kind)
    return Path(made.name) / kind, made


def checkpoint(kind: str, folder: Path) -> Path:
    """The sample `kind` in the new folder `folder`, as hard links: to change a file, replace it."""
    folder.mkdir()
    for file in _made(kind)[0].iterdir():
        os.link(file, folder / file.name)
    return folder


def refused(folder: Path, *options: Argument, status: int = 1) -> str:
    """The one line with which `deepgguf convert` refuses the checkpoint, leaving nothing behind."""
    out = folder.parent / "out"
    out.mkdir(exist_ok=True)
    return command.refused("convert", folder, "-o", out, *options, folder=folder.parent, status=status)


def planned(folder: Path, *options: Argument) -> dict[str, Any]:
    """The plan that `deepgguf plan` makes of a checkpoint it accepts."""
    outcome = command.run_deepgguf("plan", folder, "--json", *options)
    assert (outcome.status, outcome.stderr) == (0, ""), outcome
    return json.loads(outcome.stdout)


def converted(folder: Path, *options: Argument) -> Outcome:
    """The outcome of `deepgguf convert` for a checkpoint it accepts; the files go to `out` beside it."""
    out = folder.parent / "out"
    out.mkdir(exist_ok=True)
    outcome = command.run_deepgguf("convert", folder, "-o", out, *options)
    assert outcome.status == 0, outcome
    return outcome


def put(path: Path, content: bytes) -> None:
    """Replaces `path` by a file with this content."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Lets `edit` change a JSON file."""
    content = json.loads(path.read_bytes())
    edit(content)
    put(path, json.dumps(content).encode())


def put_values(shard: Path, tensor: str, data: bytes, at: int = 0) -> None:
    """Overwrites a tensor's data, starting at its byte `at`."""
    content = bytearray(shard.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little") + header(shard)[tensor]["data_offsets"][0] + at
    content[start : start + len(data)] = data
    put(shard, bytes(content))


def header(shard: Path) -> Header:
    with shard.open("rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))


def put_header_text(shard: Path, text: bytes, data_bytes: int | None = None) -> None:
    """Replaces the header by `text`, the data by a hole of `data_bytes`, by default as large as the data was."""
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
    """Changes fields of the shard's first tensor; returns its name."""
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
