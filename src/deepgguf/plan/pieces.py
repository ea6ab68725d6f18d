"""The unit of work: one read, one write, about a megabyte, in any thread and any order.

Bounds depend on the plan only, never on the number of jobs, so the same plan always has the same pieces.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.gguf.types import row_bytes
from deepgguf.plan.schema import PlannedTensor

# Weights of a piece: with source, intermediate and output it stays within a core's share of the cache.
PIECE_WEIGHTS = 1 << 19


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Rows [row, row + rows) of each of the groups [group, group + groups) of one part (see transforms.rows).

    `row` counts from the group's first taken row. `offset` and `nbytes` are bytes of the output tensor.
    """

    part: int
    group: int
    groups: int
    row: int
    rows: int
    offset: int
    nbytes: int


def pieces(tensor: PlannedTensor, block_rows: int = 1) -> Iterator[Piece]:
    """The pieces of `tensor` in the order of its bytes; `block_rows` is the height of an FP8 block.

    Whole groups go together while they fit; a group that is larger is cut into runs of rows, at the edges of FP8
    blocks where that costs little. A transposed group is never cut.
    """
    rows, type = tensor.rows, tensor.info.type
    group_bytes = rows.taken * rows.cols // rows.row_length * row_bytes(type, rows.row_length)
    part_bytes = group_bytes * rows.groups
    group_weights = rows.taken * rows.cols
    if group_weights <= PIECE_WEIGHTS or rows.transposed:
        step = max(1, PIECE_WEIGHTS // group_weights)
        for part in range(len(tensor.parts)):
            for group in range(0, rows.groups, step):
                groups = min(step, rows.groups - group)
                offset = part * part_bytes + group * group_bytes
                yield Piece(part, group, groups, 0, rows.taken, offset, groups * group_bytes)
        return
    step = rows_per_piece(rows.cols, block_rows)
    per_row = row_bytes(type, rows.cols)
    for part in range(len(tensor.parts)):
        for group in range(rows.groups):
            base = part * part_bytes + group * group_bytes
            for row in range(0, rows.taken, step):
                count = min(step, rows.taken - row)
                yield Piece(part, group, 1, row, count, base + row * per_row, count * per_row)


def rows_per_piece(cols: int, block_rows: int) -> int:
    """Rows of `cols` weights in a piece: a multiple of `block_rows` if that is no more than twice the piece's size."""
    rows = max(1, PIECE_WEIGHTS // cols)
    if rows >= block_rows:
        return rows - rows % block_rows
    return block_rows if block_rows * cols <= 2 * PIECE_WEIGHTS else rows


def largest_piece(tensor: PlannedTensor, block_rows: int = 1) -> int:
    """Weights of the largest piece, without making the pieces."""
    rows = tensor.rows
    group = rows.taken * rows.cols
    if group <= PIECE_WEIGHTS or rows.transposed:
        return min(rows.groups, max(1, PIECE_WEIGHTS // group)) * group
    return min(rows.taken, rows_per_piece(rows.cols, block_rows)) * rows.cols
