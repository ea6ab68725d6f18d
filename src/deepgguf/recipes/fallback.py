"""What becomes of a tensor whose rows are no whole number of the wanted type's blocks."""

from deepgguf.formats.gguf.types import BLOCKS, GGMLType

# llama-quant.cpp, tensor_type_fallback: for types of 256 weights a block, the next better one of 32.
_NARROWER = {
    GGMLType.IQ4_XS: GGMLType.IQ4_NL,
    GGMLType.Q2_K: GGMLType.Q4_0,
    GGMLType.Q3_K: GGMLType.Q4_0,
    GGMLType.Q4_K: GGMLType.Q5_0,
    GGMLType.Q5_K: GGMLType.Q5_1,
    GGMLType.Q6_K: GGMLType.Q8_0,
}


def fits(type: GGMLType, row: int) -> bool:
    """Whether a row of so many weights is a whole number of the type's blocks."""
    return row % BLOCKS[type].weights == 0


def fitting_type(wanted: GGMLType, row: int) -> GGMLType | None:
    """The wanted type if it fits the row, else the type to fall back to; None where llama-quantize gives up.

    Rows that are no multiple of 32 become F16 if a type of blocks of 256 was wanted; for a type of blocks of 32
    llama-quantize knows no fallback, and ends.
    """
    if fits(wanted, row):
        return wanted
    narrower = _NARROWER.get(wanted)
    if narrower is None:
        return None
    return narrower if fits(narrower, row) else GGMLType.F16
