"""What forms have in common that store FP4 two to a byte."""

from deepgguf.encodings.bits import E2M1, nibble_pairs
from deepgguf.encodings.encoding import Floats, Stored
from deepgguf.encodings.scaled import Scaled
from deepgguf.executors.buffers import Buffers


class E2m1Pairs(Scaled, frozen=True):
    """E2M1, the even column's in the lower half of a byte."""

    def logical_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Two weights to a byte."""
        return stored[0], 2 * stored[1]

    def row_bytes(self, cols: int) -> int:
        """Half a byte for each."""
        return cols // 2

    def levels(self, stored: Stored, buffers: Buffers) -> Floats:
        """The numbers of E2M1."""
        return nibble_pairs(stored.blobs[0].reshape(stored.rows, -1), E2M1)
