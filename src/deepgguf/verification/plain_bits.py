"""The bits that weights must have in F32, F16 and BF16, in NumPy; nothing of the converter's kernels.

All arrays are little-endian. Bits are uint16 for F16 and BF16, uint32 for F32.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepgguf.encodings.encoding import Floats
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType

Bits = NDArray[np.unsignedinteger[Any]]

BIT_TYPES: dict[GGMLType, type[np.uint16] | type[np.uint32]] = {
    GGMLType.F32: np.uint32,
    GGMLType.F16: np.uint16,
    GGMLType.BF16: np.uint16,
    GGMLType.I32: np.uint32,
}


def to_bits(type: GGMLType, values: Floats) -> Bits:
    """float32 rounded once to `type`, to nearest, ties to even."""
    if type is GGMLType.I32:
        return values.astype(np.int32).view(np.uint32)
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
    if type is GGMLType.I32:
        return bits.view(np.int32).astype(np.float32)
    return bits.view(np.float32 if type is GGMLType.F32 else np.float16).astype(np.float32)


def rounded_to(type: GGMLType, values: Floats, found: Bits, buffers: Buffers) -> bool:
    """Whether `found` are the values rounded to `type`, seen without rounding them; False leaves it open.

    It stays open for F16 and I32, for NaN, and for BF16 where a value lies midway between two results.
    """
    if type is GGMLType.F32:
        return same_bits(values, found)
    if type in (GGMLType.F16, GGMLType.I32) or np.isnan(values.max(initial=0)):
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
