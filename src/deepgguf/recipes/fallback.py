"""What becomes of a tensor whose rows are not a whole number of the wanted type's blocks."""

from deepgguf.encodings import encoding_of
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType, block_of

_NARROWEST = 32  # weights in a block


def fits(type: GGMLType, row: int) -> bool:
    """Whether a row of so many weights is a whole number of the type's blocks."""
    return row % block_of(type).weights == 0


def fitting_type(wanted: GGMLType, row: int) -> GGMLType | None:
    """The wanted type if it fits the row, else that to fall back to; None where llama-quantize ends for want of one.

    That is F16 if the row is not a multiple of 32. Wider types without a narrower one (Q1_0, NVFP4) have no fallback
    (llama-quant.cpp, tensor_type_fallback).
    """
    if fits(wanted, row):
        return wanted
    encoding = encoding_of(wanted)
    narrower = encoding.narrower if isinstance(encoding, Quantized) else None
    if narrower is None and block_of(wanted).weights > _NARROWEST:
        return None
    return narrower if narrower and fits(narrower, row) else GGMLType.F16
