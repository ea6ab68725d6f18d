"""What an output takes of a source tensor: all of it, or rows of every head, transposed or reshaped.

A source is a matrix of `groups` x `group_rows` rows (a group is a head). Of every group the rows [start, stop) are
taken, and transposed if `transposed`. A whole tensor is one group, all rows.
"""

from math import prod
from typing import Self

import msgspec

Shape = tuple[int, ...]


class View(msgspec.Struct, frozen=True, gc=False):
    """Rows [start, stop) of each of `groups` groups of `group_rows` rows of `cols` elements.

    `form` is the shape that the result is given, row-major; empty for (groups, rows, columns). Of every `head_rows`
    rows taken, the last `woven` are two halves in the source, and alternate in the result: 0, half, 1, half + 1, …
    More generally, they are runs of `run` rows, `outer` times as many as there are in between, and these two change
    places: (outer, inner, run) becomes (inner, outer, run). The last `rest` rows of all stay where they are.
    """

    groups: int
    group_rows: int
    cols: int
    start: int
    stop: int
    transposed: bool = False
    form: Shape = ()
    head_rows: int = 0
    woven: int = 0
    outer: int = 2
    run: int = 1
    rest: int = 0

    @classmethod
    def whole(cls, shape: Shape) -> Self:
        """All of a tensor of this shape (row-major), as rows of its last dimension."""
        rows = prod(shape[:-1])
        return cls(1, rows, shape[-1], 0, rows, form=shape)

    @classmethod
    def of_heads(cls, shape: Shape, heads: int, start: int, stop: int, *, transposed: bool = False) -> Self:
        """Rows [start, stop) of every head of a matrix (heads x rows per head, columns); a fused one has one head."""
        rows, cols = shape
        return cls(heads, rows // heads, cols, start, stop, transposed)

    @classmethod
    def woven_heads(cls, shape: Shape, heads: int, woven: int) -> Self:
        """All of a matrix (heads x rows per head, columns), the last `woven` rows of every head woven."""
        return msgspec.structs.replace(cls.whole(shape), head_rows=shape[0] // heads, woven=woven)

    @classmethod
    def paired_heads(cls, shape: Shape, head_rows: int, rest: int) -> Self:
        """All of a tensor (rows x others): heads of `head_rows` rows that are (n, 2, 2) become (2, n, 2); the last
        `rest` rows stay.
        """
        whole = cls(1, shape[0], prod(shape[1:]), 0, shape[0], form=shape)
        places = {"head_rows": head_rows, "woven": head_rows, "outer": head_rows // 4, "run": 2, "rest": rest}
        return msgspec.structs.replace(whole, **places)

    def source_row(self, row: int) -> int:
        """Which of the rows taken of a group becomes its row number `row`."""
        if not self.woven or row >= self.taken - self.rest:
            return row
        head, within = row - row % self.head_rows, row % self.head_rows
        plain = self.head_rows - self.woven
        if within < plain:
            return row
        inner, rest = divmod(within - plain, self.outer * self.run)
        outer, run = divmod(rest, self.run)
        return head + plain + (outer * (self.woven // self.outer // self.run) + inner) * self.run + run

    def reshaped(self, shape: Shape) -> Self:
        """The same elements in the same order, as a tensor of this shape."""
        return msgspec.structs.replace(self, form=shape)

    @property
    def shape(self) -> Shape:
        """The shape of the result, row-major."""
        taken = (self.cols, self.taken) if self.transposed else (self.taken, self.cols)
        return self.form or (self.groups, *taken)

    @property
    def taken(self) -> int:
        """Source rows taken of each group."""
        return self.stop - self.start

    @property
    def row_length(self) -> int:
        """Elements in a row of the result."""
        return self.taken if self.transposed else self.cols

    @property
    def elements(self) -> int:
        """Elements of the result."""
        return self.groups * self.taken * self.cols
