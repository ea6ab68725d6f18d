"""The buffers that a piece needs: what a worker takes, and what the plan says a worker will need."""

from typing import NamedTuple

from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.plain import Plain
from deepgguf.formats.gguf.types import GGMLType, block_of
from deepgguf.planning.pieces import Piece, runs
from deepgguf.planning.schema import OutputTensor


class Scratch(NamedTuple):
    """Bytes of each buffer: the blobs of a run of source rows, what they are decoded to, and what becomes of that.

    `rounded` holds weights in the type that an unquantized conversion would store, `turned` the transposed ones.
    """

    blobs: tuple[int, ...]
    rounded: int
    decoded: int
    turned: int
    out: int

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        return sum(self.blobs) + self.rounded + self.decoded + self.turned + self.out


def scratch(output: OutputTensor, source: Encoding, piece: Piece) -> Scratch:
    """What making `piece` of `output` takes, where its source is stored as `source`."""
    view, target = output.view, output.encoding
    weights = piece.groups * piece.rows * view.cols
    first, rows = runs(view, piece)[0]
    blobs = tuple(span.nbytes for span in source.ranges(view.cols, first, rows))
    if target.repacks(source) and not view.transposed:
        return Scratch(blobs, 0, 0, 0, piece.nbytes)
    if isinstance(target, Plain):
        return Scratch(blobs, 0, piece.nbytes if view.transposed else 0, 0, piece.nbytes)
    floats = 4 * weights
    rounded = weights * block_of(source.plain).nbytes if rounds_first(source) else 0
    return Scratch(blobs, rounded, floats, floats if view.transposed else 0, piece.nbytes)


def rounds_first(source: Encoding) -> bool:
    """Whether weights are rounded before they are quantized: F32 does not change them, nor does their own type."""
    return source.plain not in (GGMLType.F32, source.type)
