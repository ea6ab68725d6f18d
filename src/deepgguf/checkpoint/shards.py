"""The shards of a checkpoint and the tensors in them, one catalog for all."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import msgspec

from deepgguf.checkpoint.diagnosis import no_shards
from deepgguf.checkpoint.shard_names import WHOLE, ModelFiles, is_no_shard, model_files, numbering_error
from deepgguf.checkpoint.spelling import spelled_tensors
from deepgguf.errors import CheckpointError, OutputError, printable
from deepgguf.executors.executor import Executor
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.json_text import LARGE_FILE, read_json
from deepgguf.formats.safetensors import TensorHeader, read_header
from deepgguf.tensors.source_tensor import Blob, SourceTensor

INDEX = "model.safetensors.index.json"
_OTHER = "belongs to another version of the model"
_HEADERS = "the shards' own headers are used"
_REMOVE = "download it again, or remove it: without it the shards' own headers say what lies where"


class Shards(msgspec.Struct, frozen=True):
    """All shards, sorted by name, and all tensors by name, in the order of shards and their data.

    `empty`: the names in the files of tensors that have no weights. `stray`: what only the index has, and in which
    shard.
    """

    files: tuple[FileFacts, ...]
    tensors: dict[str, SourceTensor]
    empty: tuple[str, ...] = ()
    stray: Mapping[str, str] = {}


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

    With model.safetensors.index.json its shards are the checkpoint, in folders below too. Without one, or where the
    files are not those that it names, `shard_names.model_files` says which are. What lies where is what the headers
    say: where the index differs that is a warning. `quantization` is what config.json says of it
    (`quantization.declared_quantization`), `hidden_size` what it says of that. Headers are read one after the other, or
    by `executor`.

    Raises CheckpointError if a shard is missing or damaged, or a tensor is in two of them; its message names file and
    tensor.
    """
    there = files.names()
    index = _read_index(files) if INDEX in there else None
    chosen = _chosen(files, there, index)
    names = chosen.names
    tasks = [_Shard(files, number, name) for number, name in enumerate(names)]
    read = executor.map(_read_shard, tasks) if executor else chain.from_iterable(map(_read_shard, tasks))
    by_number = {shard.number: shard for shard in read}  # an executor may do a task twice
    if len(by_number) < len(names):
        found = f"the executor read {len(by_number)} of {len(names)} headers"
        raise OutputError(files.checkpoint_name, found, "try again, or with another executor")
    shards = [by_number[number] for number in range(len(names))]
    facts, (headers, blobs, empty) = tuple(shard.file for shard in shards), _merged(shards)
    if not headers and not empty:
        raise CheckpointError(files.checkpoint_name, "the safetensors files hold no tensors", "download them again")
    stray = {name: shard for name, shard in index.weight_map.items() if name not in blobs} if index else {}
    warnings = [*_file_warnings(chosen, empty), *(_index_warnings(index, chosen, facts, blobs) if index else ())]
    tensors = spelled_tensors(headers, blobs, quantization, hidden_size)
    return Shards(facts, tensors, tuple(empty), stray), tuple(warnings)


def _chosen(files: Files, there: Sequence[str], index: _Index | None) -> ModelFiles:
    """The shards that the index names, if they are there; else those that go by their names."""
    present = [name for name in there if name.endswith(".safetensors") and not name.startswith(".")]
    if index and index.weight_map:
        named = sorted(set(index.weight_map.values()))
        complete = all(name in present or ("/" in name and _is_there(files, name)) for name in named)
        if complete and WHOLE in present and WHOLE not in named:
            found = f"names other shards, but there is a {WHOLE} too"
            raise CheckpointError(
                INDEX, found, f"remove one of them: {WHOLE}, or the index and the shards that it names"
            )
        if complete and numbering_error(named) is None:
            return ModelFiles(tuple(named))
    if all(map(is_no_shard, present)):
        raise no_shards(files, INDEX if index and index.weight_map else None)
    return model_files(present)


def _is_there(files: Files, name: str) -> bool:
    try:
        return bool(files.facts(name))
    except CheckpointError:
        return False


def _read_shard(shard: _Shard) -> list[_Read]:
    file = shard.files.facts(shard.name)
    return [_Read(shard.number, file, read_header(shard.files, file))]


def _merged(shards: Sequence[_Read]) -> tuple[dict[str, TensorHeader], dict[str, Blob], list[str]]:
    """All headers by name, where their bytes lie, and the names of tensors without any.

    CheckpointError if a tensor is in two shards.
    """
    headers: dict[str, TensorHeader] = {}
    blobs: dict[str, Blob] = {}
    empty: list[str] = []
    for shard in shards:
        for header in shard.headers:
            if not header.nbytes:
                empty.append(header.name)
                continue
            if header.name in headers:
                other = shards[blobs[header.name].file].file.name
                advice = "the two belong to different models, or one is a copy: move it to another folder"
                raise CheckpointError(f"{shard.file.name}, tensor {header.name}", f"is also in {other}", advice)
            headers[header.name] = header
            blobs[header.name] = Blob(shard.number, header.offset, header.nbytes)
    return headers, blobs, empty


def _read_index(files: Files) -> _Index:
    try:
        index = msgspec.convert(read_json(files, INDEX, LARGE_FILE), _Index)
    except msgspec.ValidationError as e:
        raise CheckpointError(INDEX, str(e), _REMOVE) from None
    for shard in set(index.weight_map.values()):
        if not _is_plain(shard):
            found = f"the shard name {shard!r} is not that of a safetensors file in the folder"
            raise CheckpointError(INDEX, found, _REMOVE)
    return index


def _is_plain(name: str) -> bool:
    """Whether it names a file in the folder, or in one below."""
    folders_too = name.split("/")
    return (
        name.endswith(".safetensors")
        and name.isprintable()
        and not set(name) & set("\\:")
        and all(part and not part.startswith(".") for part in folders_too)
    )


def _file_warnings(chosen: ModelFiles, empty: Sequence[str]) -> Iterator[str]:
    """What is there and is not read."""
    if chosen.beside:
        model = chosen.names[0] + (f" (and {len(chosen.names) - 1} more)" if len(chosen.names) > 1 else "")
        advice = f"if it belongs to the model, name it in {INDEX}"
        yield f"{_first(chosen.beside)}: not read, since {model} is the model; {advice}"
    if empty:
        yield f"tensor {_first(empty)}: has no weights, so it is left out"


def _first(names: Sequence[str]) -> str:
    return printable(names[0]) + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _index_warnings(
    index: _Index, chosen: ModelFiles, files: Sequence[FileFacts], blobs: Mapping[str, Blob]
) -> Iterator[str]:
    """Where the index differs from the files."""
    gone = sorted(set(index.weight_map.values()) - {file.name for file in files})
    stray = [name for name in index.weight_map if name not in blobs]
    misplaced = [name for name, blob in blobs.items() if index.weight_map.get(name) != files[blob.file].name]
    if gone:
        yield f"{INDEX}: {_OTHER}: it names {_first(gone)}, and the shards are others; {_HEADERS}"
    elif stray:
        yield f"{INDEX}: {_OTHER}: it names tensor {_first(stray)}, which no shard has; {_HEADERS}"
    elif misplaced:
        first, more = misplaced[0], f" (and {len(misplaced) - 1} more)" if len(misplaced) > 1 else ""
        says = f"in {index.weight_map[first]}" if first in index.weight_map else "nowhere"
        lies = f"tensor {printable(first)} lies in {files[blobs[first].file].name}, but the index has it {says}"
        yield f"{INDEX}: {lies}{more}; {_HEADERS}"
    if index.metadata is not None and not isinstance(index.metadata, dict):
        yield f"{INDEX}: metadata is {printable(repr(index.metadata))}, expected an object; it is ignored"
    elif index.metadata:
        declared, total = index.metadata.get("total_size"), sum(blob.nbytes for blob in blobs.values())
        if declared is not None and declared != total:
            found = f"total_size is {printable(repr(declared))}, but the tensors have {total:,} bytes"
            yield f"{INDEX}: {found}; {_HEADERS}"
