"""The unit of digest and journal: one read, one write, about a megabyte, in any thread and any order.

Bounds depend on the plan only, never on the number of jobs, so the same plan always has the same pieces. They are not
stored: the i-th piece of a tensor is computed from i.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.formats.gguf.types import row_bytes
from deepgguf.planning.schema import PIECE_WEIGHTS, PlannedTensor
from deepgguf.tensors.view import View


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Rows [row, row + rows) of each of the groups [group, group + groups) of one part (see tensors.view).

    `row` counts from the group's first taken row. `offset` and `nbytes` are bytes of the output tensor.
    """

    part: int
    group: int
    groups: int
    row: int
    rows: int
    offset: int
    nbytes: int


class Cut(msgspec.Struct, frozen=True, gc=False):
    """How a tensor's parts are cut: whole groups by `groups`, or one group by runs of `rows` rows."""

    groups: int
    rows: int
    per_group: int
    per_part: int
    count: int


def cut(tensor: PlannedTensor, piece_weights: int = PIECE_WEIGHTS) -> Cut:
    """The cut of `tensor` into pieces of about `piece_weights`.

    Whole groups go together while they fit; a larger group is cut into runs of rows, at the edges of the source's
    blocks where that costs little. A transposed group is never cut.
    """
    rows = tensor.rows
    weights = rows.taken * rows.cols
    if weights <= piece_weights or rows.transposed:
        groups, run = min(rows.groups, max(1, piece_weights // weights)), rows.taken
    else:
        groups, run = 1, min(rows.taken, _rows_per_piece(rows.cols, tensor.sources[0].encoding.cut_rows, piece_weights))
    per_group = -(-rows.taken // run)
    per_part = -(-rows.groups // groups) * per_group
    return Cut(groups, run, per_group, per_part, per_part * len(tensor.sources))


def _rows_per_piece(cols: int, cut_rows: int, piece_weights: int) -> int:
    """Rows of `cols` weights in a piece: a multiple of `cut_rows` if that is no more than twice the piece's size."""
    rows = max(1, piece_weights // cols)
    if rows >= cut_rows:
        return rows - rows % cut_rows
    return cut_rows if cut_rows * cols <= 2 * piece_weights else rows


def piece_at(tensor: PlannedTensor, how: Cut, index: int) -> Piece:
    """The piece number `index` of `tensor`, in the order of its bytes."""
    rows, type = tensor.rows, tensor.info.type
    part, rest = divmod(index, how.per_part)
    nth, run = divmod(rest, how.per_group)
    group, row = nth * how.groups, run * how.rows
    groups, count = min(how.groups, rows.groups - group), min(how.rows, rows.taken - row)
    group_bytes = rows.taken * rows.cols // rows.row_length * row_bytes(type, rows.row_length)
    offset = (part * rows.groups + group) * group_bytes
    if count < rows.taken:
        per_row = row_bytes(type, rows.cols)
        return Piece(part, group, groups, row, count, offset + row * per_row, count * per_row)
    return Piece(part, group, groups, row, count, offset, groups * group_bytes)


def runs(rows: View, piece: Piece) -> list[tuple[int, int]]:
    """The rows of the source matrix that make `piece`, as (first, how many): one run where they lie together."""
    first = piece.group * rows.group_rows + rows.start + piece.row
    if piece.groups == 1 or rows.taken == rows.group_rows:
        return [(first, piece.groups * piece.rows)]
    return [(first + i * rows.group_rows, piece.rows) for i in range(piece.groups)]


def pieces(tensor: PlannedTensor, piece_weights: int = PIECE_WEIGHTS) -> Iterator[Piece]:
    """All pieces of `tensor`, in the order of its bytes."""
    how = cut(tensor, piece_weights)
    return (piece_at(tensor, how, index) for index in range(how.count))
