"""The shards of a checkpoint and the tensors in them, one catalog for all."""

import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain

import msgspec

from deepgguf.errors import CheckpointError, printable
from deepgguf.executors.executor import Executor
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.json_text import read_json
from deepgguf.formats.safetensors import TensorHeader, read_header

INDEX = "model.safetensors.index.json"
INDEX_CAP = 64_000_000  # bytes; DeepSeek-V3's has 9,000,000

_NUMBERED = re.compile(r"(?P<stem>.*)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})\.safetensors")


class SourceTensor(msgspec.Struct, frozen=True, gc=False):
    """A tensor of the checkpoint: `nbytes` bytes from byte `offset` of `Shards.files[file]`, row-major."""

    name: str
    file: int
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


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


def open_shards(files: Files, executor: Executor | None = None) -> tuple[Shards, tuple[str, ...]]:
    """The catalog of a checkpoint's tensors, from the headers of its safetensors files, and warnings.

    With model.safetensors.index.json its shards are the checkpoint, without one all safetensors files are. What lies
    where is what the headers say: where the index differs that is a warning. Headers are read one after the other, or
    by `executor`.

    Raises CheckpointError if a shard is missing or damaged, a tensor stands in two of them, or the index names one that
    no shard has; its message names file and tensor.
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
    shards = _catalog(sorted(read, key=lambda shard: shard[0]))
    if not shards.tensors:
        raise CheckpointError(files.checkpoint_name, "the safetensors files hold no tensors")
    return shards, tuple(_index_warnings(index, shards)) if index else ()


def _read_shard(shard: _Shard) -> list[tuple[int, FileFacts, list[TensorHeader]]]:
    file = shard.files.facts(shard.name)
    return [(shard.number, file, read_header(shard.files, file))]


def _catalog(read: Iterable[tuple[int, FileFacts, list[TensorHeader]]]) -> Shards:
    files: list[FileFacts] = []
    tensors: dict[str, SourceTensor] = {}
    for number, file, headers in read:
        files.append(file)
        for t in headers:
            if t.name in tensors:
                other = files[tensors[t.name].file].name
                raise CheckpointError(f"{file.name}, tensor {t.name}", f"stands in {other} too")
            tensors[t.name] = SourceTensor(t.name, number, t.dtype, t.shape, t.offset, t.nbytes)
    return Shards(tuple(files), tensors)


def _read_index(files: Files) -> _Index:
    try:
        index = msgspec.convert(read_json(files, INDEX, INDEX_CAP), _Index)
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


def _index_warnings(index: _Index, shards: Shards) -> Iterator[str]:
    """Where the index differs from the headers; CheckpointError if it names a tensor that no shard has."""
    stray = next((name for name in index.weight_map if name not in shards.tensors), None)
    if stray is not None:
        found = f"is not in {index.weight_map[stray]}, where the index has it, nor elsewhere"
        raise CheckpointError(f"{INDEX}, tensor {stray}", found)
    misplaced = [t for t in shards.tensors.values() if index.weight_map.get(t.name) != shards.files[t.file].name]
    if misplaced:
        first, more = misplaced[0], f" (and {len(misplaced) - 1} more)" if len(misplaced) > 1 else ""
        says = f"in {index.weight_map[first.name]}" if first.name in index.weight_map else "nowhere"
        lies = f"tensor {printable(first.name)} lies in {shards.files[first.file].name}, but the index has it {says}"
        yield f"{INDEX}: {lies}{more}; the shards' own headers are used"
    if index.metadata is not None and not isinstance(index.metadata, dict):
        yield f"{INDEX}: metadata is {printable(repr(index.metadata))}, expected an object; it is ignored"
    elif index.metadata:
        declared, total = index.metadata.get("total_size"), sum(t.nbytes for t in shards.tensors.values())
        if declared is not None and declared != total:
            found = f"total_size is {printable(repr(declared))}, but the tensors have {total:,} bytes"
            yield f"{INDEX}: {found}; the shards' own headers are used"
