"""A tensor in slices of about a megabyte, each beside the source rows that it comes from."""

from collections.abc import Iterator
from itertools import groupby, islice, pairwise
from operator import attrgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.checkpoint.importance import TensorImportance
from deepgguf.encodings import PLAIN
from deepgguf.formats.gguf.types import GGMLType, row_bytes
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import View
from deepgguf.verification.counterparts import Counterpart

# Weights of a slice. Comparing bits is a few long calls for each: shorter ones keep two threads waiting for each other.
# Bounds take many more arrays, which are to stay in the cache.
EXACT_WEIGHTS = 1 << 19
BOUNDED_WEIGHTS = 1 << 18

_BATCH = 32  # slices to a task


class Slice(msgspec.Struct, frozen=True, gc=False):
    """Rows [source_row, source_row + rows) of the matrix `sources[source]`, of `cols` weights each.

    In the tensor they are the bytes [offset, offset + nbytes), rows from `row` of what is made of that source and
    `head` (-1 where heads do not matter); if `transposed` they are its columns.
    """

    source: int
    head: int
    row: int
    source_row: int
    rows: int
    cols: int
    transposed: bool
    offset: int
    nbytes: int


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Slices of the pair number `pair`, all of one `source`; all that a worker must know of the pair.

    The tensor, of type `type`, lies from byte `start` of the file number `file`. Each of its sources makes `heads`
    matrices; `importance` is what it was quantized by of an importance matrix, if there was one. `direct`: see
    `Counterpart`.
    """

    pair: int
    file: int
    start: int
    type: GGMLType
    source: SourceTensor
    heads: int
    importance: TensorImportance | None
    slices: tuple[Slice, ...]
    direct: bool = False


def batches(
    number: int, pair: Counterpart, data_offset: int, importance: TensorImportance | None = None
) -> Iterator[Batch]:
    """All slices of the pair number `number`, whose file's data start at byte `data_offset`."""
    tensor, heads, start = pair.tensor, pair.view.groups, data_offset + pair.tensor.offset
    for source, found in groupby(slices(pair), key=attrgetter("source")):
        while batch := tuple(islice(found, _BATCH)):
            yield Batch(
                number, pair.file, start, tensor.type, pair.sources[source], heads, importance, batch, pair.direct
            )


def slices(pair: Counterpart) -> Iterator[Slice]:
    """All slices of a tensor, in the order of its bytes; a transposed head is one slice."""
    view, type = pair.view, pair.tensor.type
    per_row = row_bytes(type, view.row_length)
    head_bytes = view.taken * view.cols // view.row_length * per_row
    weights = EXACT_WEIGHTS if type in PLAIN else BOUNDED_WEIGHTS
    step = view.taken if view.transposed else max(1, weights // view.cols)
    offset = 0
    for source in range(len(pair.sources)):
        for head in range(view.groups):
            first, number = head * view.group_rows + view.start, head if view.groups > 1 else -1
            for row, source_row, rows in _stretches(view, step):
                nbytes = head_bytes if view.transposed else rows * per_row
                at = first + source_row
                yield Slice(source, number, row, at, rows, view.cols, view.transposed, offset, nbytes)
                offset += nbytes


def _stretches(view: View, step: int) -> Iterator[tuple[int, int, int]]:
    """(row, source row, how many) of what a head takes, at most `step` rows at a time that lie together in both."""
    order = _woven(view) if view.woven else np.empty(0)
    edges = np.flatnonzero(np.diff(order) != 1) + 1
    for start, stop in pairwise([0, *edges.tolist(), view.taken]):
        for row in range(start, stop, step):
            yield row, int(order[row]) if view.woven else row, min(step, stop - row)


def _woven(view: View) -> NDArray[np.int64]:
    """[taken]: the source row of every row."""
    rows = np.arange(view.taken)
    heads, rest = np.split(rows, [view.taken - view.rest])
    plain, woven = np.split(heads.reshape(-1, view.head_rows), [-view.woven], axis=1)
    turned = woven.reshape(len(woven), view.outer, -1, view.run).swapaxes(1, 2).reshape(len(woven), -1)
    return np.concatenate([np.hstack([plain, turned]).reshape(-1), rest])
