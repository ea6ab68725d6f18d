"""Rows or columns of a matrix that is stored in some other form: what cannot be cut out as bytes of its own."""

import numpy as np

from deepgguf import kernels
from deepgguf.encodings.encoding import Bytes, Counts, Encoding, Floats, Range, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType


class Part(Encoding, frozen=True):
    """Rows from row `first` of a matrix that is stored as `whole`; the blobs are the whole matrix's.

    With `turned`, the number of its columns, they are its columns instead: a row of the part is a column of the matrix.
    Then any row needs all of its bytes.
    """

    whole: Encoding
    first: int
    turned: int = 0

    @property
    def form(self) -> Encoding:
        """The matrix's."""
        return self.whole.form

    @property
    def plain(self) -> GGMLType:
        """The matrix's."""
        return self.whole.plain

    @property
    def packs_as(self) -> GGMLType | None:
        """The matrix's; columns have no blocks of their own."""
        return None if self.turned else self.whole.packs_as

    @property
    def always_packs(self) -> bool:
        """As the matrix."""
        return self.whole.always_packs

    @property
    def exact_plain(self) -> GGMLType:
        """The matrix's."""
        return self.whole.exact_plain

    @property
    def rounds_by(self) -> str:
        """The matrix's."""
        return self.whole.rounds_by

    @property
    def rounds_first(self) -> bool:
        """As the matrix's."""
        return self.whole.rounds_first

    @property
    def working(self) -> int:
        """The matrix's; columns also take a strip of it in F32 and its rows."""
        return self.whole.working + (8 if self.turned else 0)

    @property
    def scaling(self) -> str:
        """The matrix's."""
        return self.whole.scaling

    @property
    def cut_rows(self) -> int:
        """The height of the matrix's blocks, or their width."""
        return self.whole.cut_cols if self.turned else self.whole.cut_rows

    @property
    def cut_cols(self) -> int:
        """The width of the matrix's blocks, or their height."""
        return self.whole.cut_rows if self.turned else self.whole.cut_cols

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """Those of the matrix's rows; of all its rows, `cols` in number, if turned."""
        if self.turned:
            return self.whole.ranges(self.turned, 0, cols)
        return self.whole.ranges(cols, self.first + first, rows)

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """As the matrix's form does it; columns by way of F32, to which every form is rounded first."""
        if not self.turned:
            return self.whole.decode(stored._replace(first=self.first + stored.first), type, out)
        strip, wanted = self._strip(stored)
        floats = np.empty((strip.rows, strip.cols), np.float32)
        self.whole.decode(strip, GGMLType.F32, floats.reshape(-1).view(np.uint8))
        rows = np.ascontiguousarray(floats[:, wanted].T)
        return Counts(*kernels.cast(rows.reshape(-1).view(np.uint8), GGMLType.F32, out, type))

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """As the matrix's form has them."""
        if not self.turned:
            return self.whole.values(stored._replace(first=self.first + stored.first), buffers)
        strip, wanted = self._strip(stored)
        return np.ascontiguousarray(self.whole.values(strip, buffers)[:, wanted].T)

    def repack(self, stored: Stored, out: Bytes) -> None:
        """As the matrix's form does it."""
        self.whole.repack(stored._replace(first=self.first + stored.first), out)

    def packed(self, stored: Stored) -> Bytes:
        """As the matrix's form has them."""
        return self.whole.packed(stored._replace(first=self.first + stored.first))

    def _strip(self, stored: Stored) -> tuple[Stored, slice]:
        """The matrix's columns that the rows are, from the edge of a block on, and which of them are wanted."""
        start = self.first + stored.first
        edge, stop = start - start % self.whole.cut_cols, start + stored.rows
        row, left, right = (self.whole.ranges(cols, 0, 1) for cols in (self.turned, edge, stop))
        blobs = tuple(
            np.ascontiguousarray(blob.reshape(-1, whole.nbytes)[:, begin.nbytes : end.nbytes]).reshape(-1)
            for blob, whole, begin, end in zip(stored.blobs, row, left, right, strict=True)
        )
        return Stored(stored.tensor, 0, stored.cols, stop - edge, blobs), slice(start - edge, None)
