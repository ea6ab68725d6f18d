"""The shards of a checkpoint and the tensors in them, one catalog for all."""

import math
import os
import re
from collections.abc import Collection
from pathlib import Path

import msgspec

from deepgguf.checkpoint.catalog import catalog
from deepgguf.errors import CheckpointError
from deepgguf.files.local import LocalSource, SourceFile
from deepgguf.formats.json_text import read_json
from deepgguf.formats.safetensors import TensorHeader, read_header
from deepgguf.tensors.source_tensor import Blob, SourceTensor

INDEX = "model.safetensors.index.json"
INDEX_CAP = 64_000_000  # bytes; DeepSeek-V3's has 9,000,000

_NUMBERED = re.compile(r"(?P<stem>.*)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})\.safetensors")


class Shards(msgspec.Struct, frozen=True):
    """All shards, sorted by name, and all tensors by name, in the order of shards and their data."""

    files: tuple[SourceFile, ...]
    tensors: dict[str, SourceTensor]


class _Metadata(msgspec.Struct, frozen=True):
    total_size: int | float | None = None


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]
    metadata: _Metadata | None = None


def open_shards(folder: Path, block: tuple[int, int] | None = None) -> Shards:
    """The catalog of a checkpoint's tensors, from the headers of its safetensors files and their index, if any.

    `block` has the rows and columns that share a scale of FP8, as config.json says.
    With model.safetensors.index.json its shards are the checkpoint, without one all safetensors files are.

    Raises CheckpointError if a shard is missing or damaged, a tensor stands in two of them, or index and headers
    differ; its message names file and tensor.
    """
    present = sorted(p.name for p in folder.glob("[!.]*.safetensors"))
    index = _read_index(folder) if os.path.lexists(folder / INDEX) else None
    names = sorted(set(index.weight_map.values())) if index else present
    if not names:
        raise CheckpointError(folder.name, "no safetensors files", "give the folder that holds config.json and shards")
    if index and "model.safetensors" in present and "model.safetensors" not in names:
        raise CheckpointError(INDEX, "names other shards, but there is a model.safetensors too", "remove one of them")
    _check_numbers(names)
    files: list[SourceFile] = []
    headers: dict[str, TensorHeader] = {}
    blobs: dict[str, Blob] = {}
    for number, name in enumerate(names):
        with LocalSource(folder / name) as source:
            files.append(source.file)
            for header in read_header(source):
                if header.name in headers:
                    other = files[blobs[header.name].file].name
                    raise CheckpointError(f"{source.file.name}, tensor {header.name}", f"stands in {other} too")
                headers[header.name] = header
                blobs[header.name] = Blob(number, header.offset, header.nbytes)
    if index:
        _check_index(index, files, blobs)
    if not headers:
        raise CheckpointError(folder.name, "the safetensors files hold no tensors")
    return Shards(tuple(files), catalog(headers, blobs, block))


def _read_index(folder: Path) -> _Index:
    try:
        index = msgspec.convert(read_json(folder / INDEX, INDEX_CAP), _Index)
    except msgspec.ValidationError as e:
        raise CheckpointError(INDEX, str(e), "download it again") from None
    for shard in set(index.weight_map.values()):
        if not _is_plain(shard):
            raise CheckpointError(INDEX, f"the shard name {shard!r} is not that of a safetensors file in the folder")
    return index


def _is_plain(name: str) -> bool:
    return (
        name.endswith(".safetensors")
        and name.isprintable()
        and not name.startswith(".")
        and not set(name) & set("/\\:")
    )


def _check_numbers(names: Collection[str]) -> None:
    """Of shards that are numbered 1 to n, all must be there."""
    sets: dict[tuple[str, str], dict[int, str]] = {}
    for name in names:
        if m := _NUMBERED.fullmatch(name):
            sets.setdefault((m["stem"], m["count"]), {})[int(m["number"])] = m["number"]
    for (stem, count), numbers in sets.items():
        missing = next((i for i in range(1, int(count) + 1) if i not in numbers), None)
        if missing is not None:
            width = max(map(len, numbers.values()))
            raise CheckpointError(
                f"{stem}-{missing:0{width}d}-of-{count}.safetensors",
                f"this shard is missing, {len(numbers)} of {int(count)} are there",
                "download it",
            )
        stray = next((digits for i, digits in numbers.items() if not 1 <= i <= int(count)), None)
        if stray is not None:
            raise CheckpointError(f"{stem}-{stray}-of-{count}.safetensors", f"numbers go from 1 to {int(count)}")


def _check_index(index: _Index, files: list[SourceFile], blobs: dict[str, Blob]) -> None:
    """Index and headers must name the same tensors in the same shards, and the same total size."""
    shard_of = index.weight_map
    for name, blob in blobs.items():
        shard = files[blob.file].name
        if shard_of.get(name) != shard:
            says = f"in {shard_of[name]}" if name in shard_of else "nowhere"
            raise CheckpointError(f"{INDEX}, tensor {name}", f"lies in {shard}, but the index has it {says}")
    if len(shard_of) != len(blobs):
        name = next(n for n in shard_of if n not in blobs)
        raise CheckpointError(f"{INDEX}, tensor {name}", f"is not in {shard_of[name]}, where the index has it")
    total = sum(blob.nbytes for blob in blobs.values())
    declared = index.metadata.total_size if index.metadata else None
    if declared is not None and declared != total:
        shown = declared if isinstance(declared, float) and not math.isfinite(declared) else f"{int(declared):,}"
        raise CheckpointError(
            f"{INDEX}, total_size",
            f"{shown} bytes, but the tensors have {total:,}",
            "download the index and the shards again, they belong to different versions",
        )
