"""A file cut into several, for hosts that limit file sizes (llama.cpp: tools/gguf-split/gguf-split.cpp).

The first part has all keys, every part the three split keys; tensors keep their order.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.errors import UsageError
from deepgguf.gguf.encode import header_size, lay_out
from deepgguf.gguf.types import Value, ValueType
from deepgguf.plan.schema import PlannedFile, PlannedTensor


def split_file(file: PlannedFile, max_size: int, max_tensors: int) -> list[PlannedFile]:
    """`file` itself without limits, else its parts, none with more than `max_size` bytes or `max_tensors` tensors.

    UsageError if a single tensor is larger than `max_size`: a tensor is never cut.
    """
    if not max_size and not max_tensors:
        return [file]
    groups = list(_groups(file, max_size, max_tensors))
    stem = file.name.removesuffix(".gguf")
    return [_part(file, stem, i, len(groups), tensors) for i, tensors in enumerate(groups)]


def _groups(file: PlannedFile, max_size: int, max_tensors: int) -> Iterator[tuple[PlannedTensor, ...]]:
    group: list[PlannedTensor] = []
    # The first header has all keys and could have all tensors; the others are smaller.
    size = header = file.data_offset
    for tensor in file.tensors:
        padded = -(-tensor.info.nbytes // 32) * 32
        if max_size and header + padded > max_size:
            found = f"{max_size} bytes are too few for {tensor.info.name}: {header + padded} with the header"
            raise UsageError("--split-max-size", found, "a tensor is never cut; allow larger files")
        if group and ((max_size and size + padded > max_size) or (max_tensors and len(group) >= max_tensors)):
            yield tuple(group)
            group, size = [], header
        group.append(tensor)
        size += padded
    yield tuple(group)


def _part(file: PlannedFile, stem: str, index: int, count: int, tensors: tuple[PlannedTensor, ...]) -> PlannedFile:
    infos = lay_out((t.info.name, t.info.type, t.info.shape) for t in tensors)
    placed = tuple(msgspec.structs.replace(t, info=info) for t, info in zip(tensors, infos, strict=True))
    keys = (file.keys if index == 0 else {}) | {
        "split.no": Value(ValueType.UINT16, index),
        "split.count": Value(ValueType.UINT16, count),
        "split.tensors.count": Value(ValueType.INT32, len(file.tensors)),
    }
    data_offset = header_size(keys, infos)
    end = infos[-1].offset + -(-infos[-1].nbytes // 32) * 32
    name = f"{stem}-{index + 1:05d}-of-{count:05d}.gguf"
    return PlannedFile(name, file.kind, keys, placed, data_offset, data_offset + end)
