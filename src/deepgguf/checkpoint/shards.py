"""The shards of a checkpoint and the tensors in them, one catalog for all."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

import msgspec

from deepgguf.checkpoint.spelling import spelled_tensors
from deepgguf.errors import CheckpointError, OutputError, printable
from deepgguf.executors.executor import Executor
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.json_text import LARGE_FILE, read_json
from deepgguf.formats.safetensors import TensorHeader, read_header
from deepgguf.tensors.source_tensor import Blob, SourceTensor

INDEX = "model.safetensors.index.json"

_NUMBERED = re.compile(r"(?P<stem>.*)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})\.safetensors")


class Shards(msgspec.Struct, frozen=True):
    """All shards, sorted by name, and all tensors by name, in the order of shards and their data."""

    files: tuple[FileFacts, ...]
    tensors: dict[str, SourceTensor]


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]
    metadata: object = None


class _Shard(msgspec.Struct, frozen=True):
    """A shard to be read; plain data, for any executor."""

    files: Files
    number: int
    name: str


class _Read(msgspec.Struct, frozen=True):
    number: int
    file: FileFacts
    headers: list[TensorHeader]


def open_shards(
    files: Files, quantization: Mapping[str, object], executor: Executor | None = None, hidden_size: object = None
) -> tuple[Shards, tuple[str, ...]]:
    """The catalog of a checkpoint's tensors, from the headers of its safetensors files, and warnings.

    With model.safetensors.index.json its shards are the checkpoint, without one all safetensors files are. What lies
    where is what the headers say: where the index differs that is a warning. `quantization` is what config.json
    says of it (`quantization.declared_quantization`), `hidden_size` what it says of that. Headers are read one after
    the other, or by `executor`.

    Raises CheckpointError if a shard is missing or damaged, a tensor is in two of them, or the index names one that no
    shard has; its message names file and tensor.
    """
    there = files.names()
    present = [name for name in there if name.endswith(".safetensors") and not name.startswith(".")]
    index = _read_index(files) if INDEX in there else None
    names = sorted(set(index.weight_map.values())) if index else present
    if not names:
        found = "no safetensors files"
        raise CheckpointError(files.checkpoint_name, found, "give the folder that holds config.json and shards")
    if index and "model.safetensors" in present and "model.safetensors" not in names:
        raise CheckpointError(INDEX, "names other shards, but there is a model.safetensors too", "remove one of them")
    _check_numbers(names)
    tasks = [_Shard(files, number, name) for number, name in enumerate(names)]
    read = executor.map(_read_shard, tasks) if executor else chain.from_iterable(map(_read_shard, tasks))
    by_number = {shard.number: shard for shard in read}  # an executor may do a task twice
    if len(by_number) < len(names):
        found = f"the executor read {len(by_number)} of {len(names)} headers"
        raise OutputError(files.checkpoint_name, found, "try again, or with another executor")
    shards = [by_number[number] for number in range(len(names))]
    facts, (headers, blobs) = tuple(shard.file for shard in shards), _merged(shards)
    if not headers:
        raise CheckpointError(files.checkpoint_name, "the safetensors files hold no tensors")
    warnings = tuple(_index_warnings(index, facts, blobs)) if index else ()
    return Shards(facts, spelled_tensors(headers, blobs, quantization, hidden_size)), warnings


def _read_shard(shard: _Shard) -> list[_Read]:
    file = shard.files.facts(shard.name)
    return [_Read(shard.number, file, read_header(shard.files, file))]


def _merged(shards: Sequence[_Read]) -> tuple[dict[str, TensorHeader], dict[str, Blob]]:
    """All headers by name, and where their bytes lie; CheckpointError if a tensor is in two shards."""
    headers: dict[str, TensorHeader] = {}
    blobs: dict[str, Blob] = {}
    for shard in shards:
        for header in shard.headers:
            if header.name in headers:
                other = shards[blobs[header.name].file].file.name
                raise CheckpointError(f"{shard.file.name}, tensor {header.name}", f"is also in {other}")
            headers[header.name] = header
            blobs[header.name] = Blob(shard.number, header.offset, header.nbytes)
    return headers, blobs


def _read_index(files: Files) -> _Index:
    try:
        index = msgspec.convert(read_json(files, INDEX, LARGE_FILE), _Index)
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


def _index_warnings(index: _Index, files: Sequence[FileFacts], blobs: Mapping[str, Blob]) -> Iterator[str]:
    """Where the index differs from the headers; CheckpointError if it names a tensor that no shard has."""
    stray = next((name for name in index.weight_map if name not in blobs), None)
    if stray is not None:
        found = f"is not in {index.weight_map[stray]}, where the index has it, nor elsewhere"
        raise CheckpointError(f"{INDEX}, tensor {stray}", found)
    misplaced = [name for name, blob in blobs.items() if index.weight_map.get(name) != files[blob.file].name]
    if misplaced:
        first, more = misplaced[0], f" (and {len(misplaced) - 1} more)" if len(misplaced) > 1 else ""
        says = f"in {index.weight_map[first]}" if first in index.weight_map else "nowhere"
        lies = f"tensor {printable(first)} lies in {files[blobs[first].file].name}, but the index has it {says}"
        yield f"{INDEX}: {lies}{more}; the shards' own headers are used"
    if index.metadata is not None and not isinstance(index.metadata, dict):
        yield f"{INDEX}: metadata is {printable(repr(index.metadata))}, expected an object; it is ignored"
    elif index.metadata:
        declared, total = index.metadata.get("total_size"), sum(blob.nbytes for blob in blobs.values())
        if declared is not None and declared != total:
            found = f"total_size is {printable(repr(declared))}, but the tensors have {total:,} bytes"
            yield f"{INDEX}: {found}; the shards' own headers are used"
