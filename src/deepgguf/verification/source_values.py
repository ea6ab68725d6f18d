"""Source weights as the numbers and bits that a file must hold, in NumPy; nothing of the converter's kernels.

All arrays are little-endian. Bits are uint16 for F16 and BF16, uint32 for F32.
"""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.executors.threads import Buffers
from deepgguf.formats.gguf.types import GGMLType

Bits = NDArray[np.unsignedinteger[Any]]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1}
SAME = {"F32": GGMLType.F32, "F16": GGMLType.F16, "BF16": GGMLType.BF16}
BIT_TYPES: dict[GGMLType, type[np.uint16] | type[np.uint32]] = {
    GGMLType.F32: np.uint32,
    GGMLType.F16: np.uint16,
    GGMLType.BF16: np.uint16,
}
_FP8_UNIT = np.float32(2.0**120)


class Fp8Rows(msgspec.Struct, frozen=True):
    """Rows of an FP8 matrix: `codes` uint8 [rows, columns], C-contiguous, the matrix's rows from row `first`.

    `scales` float32 [block rows, block columns] are those of the blocks that these rows touch; `block` is how many rows
    and columns share a scale. Blocks may be larger than the matrix, and need not divide it.
    """

    codes: Bytes
    scales: Floats
    first: int
    block: tuple[int, int]


def to_floats(dtype: str, data: Bytes) -> Floats:
    """F32, F16 or BF16 as float32, exact."""
    if dtype == "BF16":
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return data.view("<f4" if dtype == "F32" else "<f2").astype(np.float32)


def to_bits(type: GGMLType, values: Floats) -> Bits:
    """float32 rounded once to `type`, to nearest, ties to even."""
    if type is GGMLType.F32:
        return values.view(np.uint32)
    if type is GGMLType.F16:
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    half = rounded.astype(np.uint16)
    half[np.isnan(values)] = 0x7FC0
    return half


def from_bits(type: GGMLType, bits: Bits) -> Floats:
    """What bits of `type` stand for, as float32."""
    if type is GGMLType.BF16:
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float32 if type is GGMLType.F32 else np.float16).astype(np.float32)


def scale_floats(dtype: str, data: Bytes) -> Floats:
    """FP8 scales as float32; U8 holds E8M0, 2^(v − 127), 255 being NaN (OCP Microscaling Formats, section 5.4.1)."""
    if dtype in SAME:
        return to_floats(dtype, data)
    values = np.ldexp(1.0, data.astype(np.int32) - 127)
    values[data == 255] = np.nan
    return values.astype(np.float32)


def rounded_to(type: GGMLType, values: Floats, found: Bits, buffers: Buffers) -> bool:
    """Whether `found` are the values rounded to `type`, seen without rounding them; False leaves it open.

    It stays open for F16, for NaN, and for BF16 where a value lies midway between two results.
    """
    if type is GGMLType.F32:
        return same_bits(values, found)
    if type is GGMLType.F16 or np.isnan(values.max(initial=0)):
        return False
    # BF16 is the upper half of F32: rounded to nearest, it is less than half of its last place away.
    distance: Bits = buffers.take("distance", values.size, np.uint32).reshape(values.shape)
    np.copyto(distance, found)
    distance <<= 16
    distance -= values.view(np.uint32)
    distance += 0x7FFF
    return int(distance.max(initial=0)) <= 0xFFFE


def same_bits(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two contiguous arrays of one size have the same bytes."""
    width = np.uint64 if one.nbytes % 8 == 0 else np.uint8  # the wider, the fewer comparisons
    return np.array_equal(one.reshape(-1).view(width), other.reshape(-1).view(width))


def fp8_values(stored: Fp8Rows, buffers: Buffers) -> Floats:
    """Codes times their scales, rounded once to float32; [rows, columns], valid until `buffers` is used again.

    E4M3 (arXiv 2209.05433, table 1) has bias 7, no infinities, and NaN where all but the sign is 1s. Its sign, four
    bits of exponent and three of mantissa, moved to where float32 (bias 127) has its own, make 2^-120 of the value.
    """
    bits: NDArray[np.int32] = buffers.take("fp8 values", stored.codes.size, np.int32).reshape(stored.codes.shape)
    np.copyto(bits, stored.codes.view(np.int8))  # copies of the sign fill the upper bits
    bits <<= 20
    bits &= np.int32(0x07F0_0000 - 0x8000_0000)
    values: Floats = bits.view(np.float32)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        np.setbufsize(1024)  # shorter rows than its buffer NumPy would multiply at half the speed; errstate restores it
        scales = stored.scales * _FP8_UNIT
        if not np.isfinite(scales).all():
            values *= _FP8_UNIT
            scales = stored.scales
        _scale(values, scales, stored.first % stored.block[0], stored.block)
    magnitude = np.bitwise_or(stored.codes, 0x80, out=buffers.take("magnitude", bits.size).reshape(bits.shape))
    if magnitude.max(initial=0) == 0xFF:
        values[magnitude == 0xFF] = np.nan
    return values


def _scale(values: Floats, scales: Floats, above: int, block: tuple[int, int]) -> None:
    """Multiplies by the scales in place; `above` rows of the first block come before these values."""
    rows, cols = values.shape
    if scales.shape[1] == 1:
        values *= scales[(above + np.arange(rows)) // block[0]]
        return
    for nth, row in enumerate(scales):
        run = values[max(0, nth * block[0] - above) : (nth + 1) * block[0] - above]
        run *= np.repeat(row, min(block[1], cols))[:cols]
