"""A GGUF source joined to one file, or cut into several, as llama-gguf-split does (tools/gguf-split/gguf-split.cpp)."""

from collections.abc import Sequence

import msgspec

from deepgguf.checkpoint.gguf_source import GGUFSource
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import lay_out
from deepgguf.formats.gguf.split_set import ALIGNMENT_KEY, LAYOUT_KEYS, SPLIT_COUNT
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.planning.carried import carried, stored_type, written_shape
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.planning.sized_file import sized_file
from deepgguf.planning.split import cut_file, tensor_groups

JOINED = Value(ValueType.UINT16, 0)
"""The number of files by which gguf-split marks what it has joined."""

_MOST_TENSORS = 128


class Limits(msgspec.Struct, frozen=True):
    """How large the files of a set may be: bytes of their data, tensors; whether the first has none of these."""

    size: int | None = None
    tensors: int | None = None
    first_without_tensors: bool = False


def plan_merge(source: GGUFSource, name: str) -> Plan:
    """The plan of one file of all files of a set; UsageError for a file that belongs to none."""
    if SPLIT_COUNT not in source.keys:
        raise UsageError(
            source.name, f"has no key {SPLIT_COUNT}, so it is no file of a split set", "it is whole already"
        )
    keys = {key: value for key, value in source.keys.items() if key not in (ALIGNMENT_KEY, SPLIT_COUNT)}
    keys[SPLIT_COUNT] = JOINED
    return arranged(source, [_whole(source, keys, name)])


def plan_split(source: GGUFSource, name: str, limits: Limits) -> Plan:
    """The plan of as many files as the limits ask for, 128 tensors in each without any.

    UsageError if a single tensor is larger than they allow: a tensor is never cut.
    """
    keys = {key: value for key, value in source.keys.items() if key not in LAYOUT_KEYS}
    whole = _whole(source, keys, name)
    most = limits.tensors or (None if limits.size else _MOST_TENSORS)
    groups = list(tensor_groups(whole, limits.size, most, header=0))
    if limits.first_without_tensors:
        groups.insert(0, ())
    return arranged(source, [_count_last(file) for file in cut_file(whole, groups)])


def arranged(source: GGUFSource, files: Sequence[PlannedFile]) -> Plan:
    """The plan of files that hold what `source` holds."""
    return Plan(
        source=source.files,
        name=source.name,
        target="llama.cpp",
        architecture=source.architecture,
        type="copy",
        sources=source.sources,
        files=tuple(files),
        dropped=(),
        warnings=(),
    )


def _whole(source: GGUFSource, keys: dict[str, Value], name: str) -> PlannedFile:
    given = [tensor for tensors in source.tensors() for tensor in tensors]
    infos = lay_out((tensor.name, stored_type(tensor), written_shape(tensor.shape)) for tensor in given)
    return sized_file(name, "text", keys, tuple(map(carried, infos, given)))


def _count_last(file: PlannedFile) -> PlannedFile:
    """gguf-split sets the number of files when it knows it, and what is set comes last."""
    keys = dict(file.keys)
    keys[SPLIT_COUNT] = keys.pop(SPLIT_COUNT)
    return msgspec.structs.replace(file, keys=keys)
