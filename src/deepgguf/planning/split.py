"""A file cut into several, for hosts that limit file sizes (llama.cpp: tools/gguf-split/gguf-split.cpp).

The first file has all keys, every file the three split keys; tensors keep their order.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import lay_out, padded
from deepgguf.formats.gguf.split_set import SPLIT_COUNT, SPLIT_NUMBER, SPLIT_TENSORS, split_path
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.planning.schema import PlannedFile, PlannedTensor
from deepgguf.planning.sized_file import sized_file

_PART = re.compile(r"([0-9]{1,19})(?:/([0-9]{1,19}))?")


def split_file(file: PlannedFile, max_size: int | None, max_tensors: int | None) -> list[PlannedFile]:
    """`file` itself without limits, else files of at most `max_size` bytes and `max_tensors` tensors.

    UsageError if a single tensor is larger than `max_size`: a tensor is never cut.
    """
    if not max_size and not max_tensors:
        return [file]
    # The first header has all keys and could have all tensors; the others are smaller.
    return cut_file(file, list(tensor_groups(file, max_size, max_tensors, header=file.data_offset)))


def cut_file(file: PlannedFile, groups: Sequence[tuple[PlannedTensor, ...]]) -> list[PlannedFile]:
    """`file` as one for each group of its tensors."""
    stem = file.name.removesuffix(".gguf")
    return [_cut(file, stem, i, len(groups), tensors) for i, tensors in enumerate(groups)]


def tensor_groups(
    file: PlannedFile, max_size: int | None, max_tensors: int | None, *, header: int
) -> Iterator[tuple[PlannedTensor, ...]]:
    """The tensors of each file, of which `header` bytes are counted too; errors as for `split_file`."""
    group: list[PlannedTensor] = []
    size = header
    for tensor in file.tensors:
        nbytes = padded(tensor.info.nbytes)
        if max_size and header + nbytes > max_size:
            found = f"{max_size:,} bytes are too few for {tensor.info.name}: {header + nbytes:,} are needed"
            raise UsageError("`split_max_size`", found, "a tensor is never cut; allow larger files")
        if group and ((max_size and size + nbytes > max_size) or (max_tensors and len(group) >= max_tensors)):
            yield tuple(group)
            group, size = [], header
        group.append(tensor)
        size += nbytes
    yield tuple(group)


def is_share(part: int | str | None) -> bool:
    """Whether `part` is the share "I/N" of a task among N, not the number of one file."""
    return isinstance(part, str) and "/" in part


def files_of_part(files: Sequence[PlannedFile], part: int | str) -> tuple[PlannedFile, ...]:
    """File number `part`, from 1; of "I/N" files I, I+N, I+2N and so on. UsageError if there is no such file."""
    found = _PART.fullmatch(str(part))
    if found is None:
        raise UsageError("`part`", f"{part!r} is neither a number nor I/N", "give one such as 3, or 3/16")
    first, tasks = int(found[1]), int(found[2] or len(files))
    if found[2] and not 1 <= first <= tasks:
        advice = "add 1 if yours are numbered from 0"
        raise UsageError("`part`", f"{part} is not a task: they are numbered from 1 to N", advice)
    if not 1 <= first <= len(files):
        advice = "use no more tasks than files" if found[2] else f"give a number from 1 to {len(files)}"
        missing = f"there is no file {'for ' if found[2] else ''}{part}, only {len(files)} in all"
        raise UsageError("`part`", missing, advice)
    return tuple(files[first - 1 :: tasks])


def _cut(file: PlannedFile, stem: str, index: int, count: int, tensors: tuple[PlannedTensor, ...]) -> PlannedFile:
    infos = lay_out((t.info.name, t.info.type, t.info.shape) for t in tensors)
    placed = tuple(msgspec.structs.replace(t, info=info) for t, info in zip(tensors, infos, strict=True))
    keys = (file.keys if index == 0 else {}) | {
        SPLIT_NUMBER: Value(ValueType.UINT16, index),
        SPLIT_COUNT: Value(ValueType.UINT16, count),
        SPLIT_TENSORS: Value(ValueType.INT32, len(file.tensors)),
    }
    return sized_file(split_path(stem, index, count), file.kind, keys, placed)
