"""The buffers that a piece needs besides its source rows: what a worker takes, and the plan adds up."""

from typing import NamedTuple

from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.plain import Plain
from deepgguf.formats.gguf.types import GGMLType, block_of
from deepgguf.planning.pieces import Piece
from deepgguf.planning.schema import OutputTensor


class Scratch(NamedTuple):
    """Bytes of each buffer: what source rows are decoded to, and what becomes of that.

    `rounded` holds weights in the type that an unquantized conversion would store, `turned` the transposed ones.
    """

    rounded: int
    decoded: int
    turned: int
    out: int

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return self.rounded + self.decoded + self.turned + self.out


def scratch(output: OutputTensor, source: Encoding, piece: Piece) -> Scratch:
    """What making `piece` of `output` takes, where its source is stored as `source`."""
    view, target = output.view, output.encoding
    weights = piece.groups * piece.rows * view.cols
    if target.repacks(source) and not view.transposed:
        return Scratch(0, 0, 0, piece.nbytes)
    if isinstance(target, Plain):
        return Scratch(0, piece.nbytes if view.transposed else 0, 0, piece.nbytes)
    floats = 4 * weights
    rounded = weights * block_of(source.plain).nbytes if rounds_first(source) else 0
    return Scratch(rounded, floats, floats if view.transposed else 0, piece.nbytes)


def rounds_first(source: Encoding) -> bool:
    """Whether weights are rounded before they are quantized: F32 does not change them, nor does their own type."""
    return source.plain not in (GGMLType.F32, source.type)
