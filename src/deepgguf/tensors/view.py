"""Keep, split and transpose in one form: which rows of a source matrix make a part of an output tensor.

A source is a matrix of `groups` x `group_rows` rows (a group is a head). Of every group the rows [start, stop) are
taken, and turned over if `transposed`. Keeping a tensor is one group, all rows.
"""

from math import prod

import msgspec


class View(msgspec.Struct, frozen=True, gc=False):
    """Rows [start, stop) of each of `groups` groups of `group_rows` rows of `cols` elements."""

    groups: int
    group_rows: int
    cols: int
    start: int
    stop: int
    transposed: bool = False

    @property
    def taken(self) -> int:
        """Source rows taken of each group."""
        return self.stop - self.start

    @property
    def row_length(self) -> int:
        """Elements in a row of the output."""
        return self.taken if self.transposed else self.cols

    @property
    def elements(self) -> int:
        """Elements of the part."""
        return self.groups * self.taken * self.cols


def keep(shape: tuple[int, ...]) -> View:
    """All of a tensor of this shape (row-major), as rows of its last dimension."""
    rows = prod(shape[:-1])
    return View(1, rows, shape[-1], 0, rows)


def split_heads(shape: tuple[int, ...], heads: int, start: int, stop: int, *, transposed: bool = False) -> View:
    """Rows [start, stop) of every head of a (heads x rows per head, columns) matrix."""
    rows, cols = shape
    return View(heads, rows // heads, cols, start, stop, transposed)


def predict(rows: View) -> tuple[int, ...]:
    """The shape of a split: (heads, rows, columns), the last two exchanged if transposed."""
    return (rows.groups, rows.cols, rows.taken) if rows.transposed else (rows.groups, rows.taken, rows.cols)
