"""Source weights as the numbers and bits that a file must hold, in NumPy; nothing of the converter's kernels.

All arrays are little-endian. Bits are uint16 for F16 and BF16, uint32 for F32.
"""

from typing import Any

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
_RUN = 1 << 16  # FP8 weights at a time, so that indices and results stay in the cache


def _fp8_values() -> Floats:
    """E4M3 (arXiv 2209.05433, table 1), by code: bias 7, no infinities, NaN where all but the sign is 1s."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    magnitude = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    magnitude[(code & 127) == 127] = np.nan
    return np.where(code & 128, -magnitude, magnitude).astype(np.float32)


FP8_VALUES = _fp8_values()


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
    rounded = (bits + (0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


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


def fp8_bits(
    type: GGMLType, data: Bytes, scales: Floats, first_row: int, block: tuple[int, int], buffers: Buffers
) -> Bits:
    """FP8 rows times their scales, rounded once to `type`.

    `data` uint8 [rows, cols], the tensor's rows from `first_row`; `scales` [block rows, block columns] of the blocks
    that these rows touch; `block` the rows and columns that share a scale. The result, [rows, cols], is valid until
    `buffers` is used again.
    """
    rows, cols = data.shape
    bits: Bits = buffers.take("fp8 bits", rows * cols, BIT_TYPES[type]).reshape(rows, cols)
    # One table of 256 results per block; a weight's index is its code beside its block's column.
    index_type = np.uint16 if scales.shape[1] <= 256 else np.uint32  # the narrower, the faster
    columns = (np.arange(cols) // block[1] * 256).astype(index_type)
    run = max(1, _RUN // cols)
    row = 0
    while row < rows:
        nth = (first_row + row) // block[0] - first_row // block[0]
        stop = min(rows, (first_row // block[0] + nth + 1) * block[0] - first_row)
        with np.errstate(over="ignore", invalid="ignore"):
            table = to_bits(type, (scales[nth][:, None] * FP8_VALUES).ravel())
        for start in range(row, stop, run):
            codes = data[start : min(stop, start + run)]
            index = buffers.take("fp8 index", codes.size, index_type).reshape(codes.shape)
            np.copyto(index, codes)  # adding bytes to indices at once would cast in small buffers
            np.add(index, columns, out=index)
            # Every index is in range; "clip" only spares the copy that "raise" makes of `out`.
            np.take(table, index, out=bits[start : start + len(codes)], mode="clip")
        row = stop
    return bits
