"""Forms that hold every weight by itself: F32, F16, BF16."""

from typing import ClassVar

import numpy as np

from deepgguf import kernels
from deepgguf.encodings.encoding import Bytes, Counts, Encoding, Floats, Range, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType, block_of


class Plain(Encoding, frozen=True):
    """One element for a weight. A copy goes through the kernel too, which counts what is not finite."""

    type: ClassVar[GGMLType]

    element: ClassVar[str] = ""
    """What NumPy calls an element; empty for those that it does not know."""

    @property
    def plain(self) -> GGMLType:
        """Its own type."""
        return self.type

    @property
    def working(self) -> int:
        """None."""
        return 0

    def repacks(self, source: Encoding, *, exact: bool) -> bool:
        """Never: a copy is not worth more than its counts."""
        return False

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The rows' elements."""
        row = cols * block_of(self.type).nbytes
        return (Range(first * row, rows * row),)

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """The rows as another plain type, or copied."""
        return Counts(*kernels.cast(stored.blobs[0], self.type, out, type))

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Exact, as float32 holds them all."""
        return stored.blobs[0].view(self.element).astype(np.float32).reshape(stored.rows, stored.cols)
