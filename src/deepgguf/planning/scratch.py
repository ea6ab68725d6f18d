"""The buffers that a piece needs besides its source rows: what a worker takes, and the plan adds up."""

from typing import NamedTuple

from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.plain import Plain
from deepgguf.formats.gguf.types import block_of
from deepgguf.planning.pieces import Piece
from deepgguf.planning.schema import OutputTensor


class Scratch(NamedTuple):
    """Bytes of each buffer: what source rows are decoded to, and what becomes of that.

    `working` is what decoding itself takes. `rounded` holds weights in the type that an unquantized conversion would
    store, `turned` the transposed ones.
    """

    working: int
    rounded: int
    decoded: int
    turned: int
    out: int

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return self.working + self.rounded + self.decoded + self.turned + self.out


def scratch(output: OutputTensor, source: Encoding, piece: Piece) -> Scratch:
    """What making `piece` of `output` takes, where its source is stored as `source`."""
    view, target = output.view, output.encoding
    weights = piece.groups * piece.rows * view.cols
    working = source.working * weights
    if output.repacks(source):
        return Scratch(0 if source.always_packs else working, 0, 0, 0, piece.nbytes)
    if isinstance(target, Plain):
        return Scratch(working, 0, piece.nbytes if view.transposed else 0, 0, piece.nbytes)
    return weights_scratch(output, source, piece)


def weights_scratch(output: OutputTensor, source: Encoding, piece: Piece) -> Scratch:
    """What the weights of `piece` take, as they are before they are quantized, and `piece` itself."""
    view = output.view
    weights = piece.groups * piece.rows * view.cols
    working, floats = source.working * weights, 4 * weights
    rounded = weights * block_of(source.plain).nbytes if output.rounds_first(source) else 0
    return Scratch(working, rounded, floats, floats if view.transposed else 0, piece.nbytes)
