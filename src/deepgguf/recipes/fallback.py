"""What becomes of a tensor whose rows are not a whole number of the wanted type's blocks."""

from deepgguf.encodings import encoding_of
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType, block_of


def fits(type: GGMLType, row: int) -> bool:
    """Whether a row of so many weights is a whole number of the type's blocks."""
    return row % block_of(type).weights == 0


def fitting_type(wanted: GGMLType, row: int) -> GGMLType | None:
    """The wanted type if it fits the row, else the type to fall back to; None where llama-quantize gives up.

    Rows that are not a multiple of 32 become F16 if a type of blocks of 256 was wanted; for a type of blocks of 32
    llama-quantize knows no fallback, and ends.
    """
    if fits(wanted, row):
        return wanted
    encoding = encoding_of(wanted)
    narrower = encoding.narrower if isinstance(encoding, Quantized) else None
    if narrower is None:
        return None
    return narrower if fits(narrower, row) else GGMLType.F16
