"""A file cut into several, for hosts that limit file sizes (llama.cpp: tools/gguf-split/gguf-split.cpp).

The first file has all keys, every file the three split keys; tensors keep their order.
"""

from collections.abc import Iterator, Sequence

import msgspec

from deepgguf.errors import UsageError
from deepgguf.formats.gguf.encode import lay_out, padded
from deepgguf.formats.gguf.split_set import SPLIT_COUNT, SPLIT_NUMBER, SPLIT_TENSORS, split_path
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.planning.schema import PlannedFile, PlannedTensor
from deepgguf.planning.sized_file import sized_file


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
            found = f"{max_size} bytes are too few for {tensor.info.name}: {header + nbytes} are needed"
            raise UsageError("`split_max_size`", found, "a tensor is never cut; allow larger files")
        if group and ((max_size and size + nbytes > max_size) or (max_tensors and len(group) >= max_tensors)):
            yield tuple(group)
            group, size = [], header
        group.append(tensor)
        size += nbytes
    yield tuple(group)


def _cut(file: PlannedFile, stem: str, index: int, count: int, tensors: tuple[PlannedTensor, ...]) -> PlannedFile:
    infos = lay_out((t.info.name, t.info.type, t.info.shape) for t in tensors)
    placed = tuple(msgspec.structs.replace(t, info=info) for t, info in zip(tensors, infos, strict=True))
    keys = (file.keys if index == 0 else {}) | {
        SPLIT_NUMBER: Value(ValueType.UINT16, index),
        SPLIT_COUNT: Value(ValueType.UINT16, count),
        SPLIT_TENSORS: Value(ValueType.INT32, len(file.tensors)),
    }
    return sized_file(split_path(stem, index, count), file.kind, keys, placed)
