"""Two matrices side by side: a row of the second follows the same row of the first."""

import numpy as np

from deepgguf.encodings.encoding import Bytes, Counts, Encoding, Floats, Range, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType, row_bytes


class Beside(Encoding, frozen=True):
    """`left`, of `cols` columns, and `right`; the blobs are those of one and then those of the other."""

    left: Encoding
    right: Encoding
    cols: int

    @property
    def form(self) -> Encoding:
        """The first's, if the second is of the same kind."""
        return self.left.form if type(self.left.form) is type(self.right.form) else self

    @property
    def plain(self) -> GGMLType:
        """What holds both."""
        return self.left.plain if self.left.plain is self.right.plain else GGMLType.F32

    @property
    def exact_plain(self) -> GGMLType:
        """What holds both."""
        return self.left.exact_plain if self.left.exact_plain is self.right.exact_plain else GGMLType.F32

    @property
    def rounds_by(self) -> str:
        """As one of them."""
        return self.left.rounds_by or self.right.rounds_by

    @property
    def rounds_first(self) -> bool:
        """If one of them is."""
        return self.left.rounds_first or self.right.rounds_first

    @property
    def working(self) -> int:
        """Each is decoded by itself before it is put beside the other."""
        return 4 + max(self.left.working, self.right.working)

    @property
    def scaling(self) -> str:
        """The first's."""
        return self.left.scaling

    @property
    def cut_rows(self) -> int:
        """The height of the higher blocks."""
        return max(self.left.cut_rows, self.right.cut_rows)

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The same rows of both."""
        return *self.left.ranges(self.cols, first, rows), *self.right.ranges(cols - self.cols, first, rows)

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """As their forms do it."""
        counts, start, rows = Counts(), 0, out.reshape(stored.rows, -1)
        for form, half in zip((self.left, self.right), self._halves(stored), strict=True):
            width = row_bytes(type, half.cols)
            decoded = np.empty(half.rows * width, np.uint8)
            counts = counts.plus(form.decode(half, type, decoded))
            rows[:, start : start + width] = decoded.reshape(half.rows, width)
            start += width
        return counts

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """As their forms have them."""
        left, right = self._halves(stored)
        first = self.left.values(left, buffers).copy()  # the second may take the same buffers
        return np.hstack((first, self.right.values(right, buffers)))

    def _halves(self, stored: Stored) -> tuple[Stored, Stored]:
        blobs = len(self.left.ranges(self.cols, 0, 1))
        left = stored._replace(cols=self.cols, blobs=stored.blobs[:blobs])
        return left, stored._replace(cols=stored.cols - self.cols, blobs=stored.blobs[blobs:])
