"""The unit of digest and journal: one read, one write, about a megabyte, in any thread and any order.

Bounds depend on the plan only, never on the number of jobs, so the same plan always has the same pieces. They are not
stored: the i-th piece of a tensor is computed from i.
"""

import msgspec

from deepgguf.formats.gguf.types import row_bytes
from deepgguf.planning.schema import PIECE_WEIGHTS, PlannedTensor
from deepgguf.tensors.view import View


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Rows [row, row + rows) of each of the groups [group, group + groups) of a view (tensors.view).

    `source` is the number of the tensor that is seen. `row` counts from the group's first taken row. `offset` and
    `nbytes` are bytes of the output tensor.
    """

    source: int
    group: int
    groups: int
    row: int
    rows: int
    offset: int
    nbytes: int


class Cut(msgspec.Struct, frozen=True, gc=False):
    """How what is taken of each source is cut: whole groups by `groups`, or one group by runs of `rows` rows."""

    groups: int
    rows: int
    per_group: int
    per_source: int
    count: int


def cut(tensor: PlannedTensor, piece_weights: int = PIECE_WEIGHTS) -> Cut:
    """The cut of `tensor` into pieces of about `piece_weights`.

    Whole groups go together while they fit; a larger group is cut into runs of rows, at the edges of the source's
    blocks where that costs little, and of the output's rows: there other types are cut, of which weights do not stand
    alone, so that what is read for one serves all. A transposed group is never cut.
    """
    view = tensor.view
    weights = view.taken * view.cols
    if weights <= piece_weights or view.transposed:
        groups, run = min(view.groups, max(1, piece_weights // weights)), view.taken
    else:
        edges = max(tensor.info.shape[-1] // view.row_length, *(form.cut_rows for form in tensor.forms))
        groups, run = 1, min(view.taken, _rows_per_piece(view.cols, edges, piece_weights))
    per_group = -(-view.taken // run)
    per_source = -(-view.groups // groups) * per_group
    return Cut(groups, run, per_group, per_source, per_source * len(tensor.sources))


def _rows_per_piece(cols: int, cut_rows: int, piece_weights: int) -> int:
    """Rows of `cols` weights in a piece: a multiple of `cut_rows` if that is no more than twice the piece's size."""
    rows = max(1, piece_weights // cols)
    if rows >= cut_rows:
        return rows - rows % cut_rows
    return cut_rows if cut_rows * cols <= 2 * piece_weights else rows


def piece_at(tensor: PlannedTensor, how: Cut, index: int) -> Piece:
    """The piece number `index` of `tensor`, in the order of its bytes."""
    view, type = tensor.view, tensor.info.type
    source, rest = divmod(index, how.per_source)
    nth, run = divmod(rest, how.per_group)
    group, row = nth * how.groups, run * how.rows
    groups, count = min(how.groups, view.groups - group), min(how.rows, view.taken - row)
    group_bytes = view.taken * view.cols // view.row_length * row_bytes(type, view.row_length)
    offset = (source * view.groups + group) * group_bytes
    if count < view.taken:
        per_row = row_bytes(type, view.cols)
        return Piece(source, group, groups, row, count, offset + row * per_row, count * per_row)
    return Piece(source, group, groups, row, count, offset, groups * group_bytes)


def runs(view: View, piece: Piece) -> list[tuple[int, int]]:
    """The rows of the source matrix that make `piece`, as (first, how many): one run where they lie together."""
    if view.woven:
        return _woven_runs(view, piece)
    first = piece.group * view.group_rows + view.start + piece.row
    if piece.groups == 1 or view.taken == view.group_rows:
        return [(first, piece.groups * piece.rows)]
    return [(first + i * view.group_rows, piece.rows) for i in range(piece.groups)]


def _woven_runs(view: View, piece: Piece) -> list[tuple[int, int]]:
    """As `runs`, of a view of one group: rows that lie together in the source are read together."""
    found: list[tuple[int, int]] = []
    for row in range(piece.row, piece.row + piece.rows):
        source = view.source_row(row)
        if found and sum(found[-1]) == source:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((source, 1))
    return found
