"""Quantized blocks back to numbers, in NumPy, sharing nothing with the kernels that make them.

A block is one or more groups of weights with a common step: weight = step × level + offset, where a level is what a
code stands for. The layouts are those of ggml-common.h (structs block_*), the meaning that of ggml-quants.c
(dequantize_row_*), and the results are the same bits.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.formats.gguf.types import BLOCKS, GGMLType

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Codes = NDArray[np.integer[Any]]

# ggml-common.h, kvalues_iq4nl: 16 levels, denser around zero.
_NONLINEAR = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
# OCP Microscaling Formats (MX) 1.0, table 5, FP4 E2M1, in halves: sign, two bits of exponent, one of mantissa.
_FP4_HALVES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)

# The levels of every quantized type, in rising order.
LEVELS: dict[GGMLType, Floats] = {
    GGMLType.Q8_0: np.arange(-127, 128, dtype=np.float32),
    GGMLType.Q4_0: np.arange(-8, 8, dtype=np.float32),
    GGMLType.Q4_1: np.arange(16, dtype=np.float32),
    GGMLType.Q5_0: np.arange(-16, 16, dtype=np.float32),
    GGMLType.Q5_1: np.arange(32, dtype=np.float32),
    GGMLType.Q2_K: np.arange(4, dtype=np.float32),
    GGMLType.Q3_K: np.arange(-4, 4, dtype=np.float32),
    GGMLType.Q4_K: np.arange(16, dtype=np.float32),
    GGMLType.Q5_K: np.arange(32, dtype=np.float32),
    GGMLType.Q6_K: np.arange(-32, 32, dtype=np.float32),
    GGMLType.IQ4_NL: _NONLINEAR,
    GGMLType.IQ4_XS: _NONLINEAR,
    GGMLType.MXFP4: np.unique(_FP4_HALVES),
}


class Groups(msgspec.Struct, frozen=True):
    """The groups of some blocks.

    `levels` float32 [blocks, groups, weights]; `step` float32 [blocks, groups], of either sign; `offset` likewise, None
    for types that have none.
    """

    levels: Floats
    step: Floats
    offset: Floats | None = None

    def values(self) -> Floats:
        """The weights, float32 [blocks, groups, weights], rounded where ggml rounds."""
        values = self.step[..., None] * self.levels
        if self.offset is not None:  # adding a zero would make −0 into 0
            values += self.offset[..., None]
        return values


def decode(type: GGMLType, data: Bytes, cols: int) -> Floats:
    """The weights of quantized or plain rows.

    `data` uint8 [rows, row_bytes(type, cols)]; the result float32 [rows, cols], the same bits as ggml's to_float.
    Raises ValueError for a type that deepgguf does not write, and if `cols` is no whole number of blocks.
    """
    data = np.ascontiguousarray(data)
    match type:
        case GGMLType.F32:
            return data.view("<f4").astype(np.float32)
        case GGMLType.F16:
            return data.view("<f2").astype(np.float32)
        case GGMLType.BF16:
            return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # a damaged file's scales may be NaN or Inf
        return split_groups(type, data, cols).values().reshape(len(data), cols)


def split_groups(type: GGMLType, data: Bytes, cols: int) -> Groups:
    """The groups of all blocks of `data`, uint8 [rows, row_bytes(type, cols)], row by row.

    Raises ValueError for a type that has no blocks or that deepgguf does not write.
    """
    if type not in _SPLITTERS:
        raise ValueError(f"{type.name} is not among the quantized types that deepgguf writes")
    block = BLOCKS[type]
    if cols % block.weights or data.shape[1] * block.weights != cols * block.nbytes:
        raise ValueError(f"{data.shape[1]} bytes are no row of {cols} weights of {type.name}")
    return _SPLITTERS[type](np.ascontiguousarray(data).reshape(-1, block.nbytes))


def _q8_0(blocks: Bytes) -> Groups:
    return Groups(blocks[:, None, 2:].view(np.int8).astype(np.float32), _half(blocks, 0))


def _q4_0(blocks: Bytes) -> Groups:
    return Groups(_levels(_nibbles(blocks[:, 2:], 16), -8), _half(blocks, 0))


def _q4_1(blocks: Bytes) -> Groups:
    return Groups(_levels(_nibbles(blocks[:, 4:], 16)), _half(blocks, 0), _half(blocks, 2))


def _q5_0(blocks: Bytes) -> Groups:
    codes = _nibbles(blocks[:, 6:], 16) | _fifth_bits(blocks[:, 2:6])
    return Groups(_levels(codes, -16), _half(blocks, 0))


def _q5_1(blocks: Bytes) -> Groups:
    codes = _nibbles(blocks[:, 8:], 16) | _fifth_bits(blocks[:, 4:8])
    return Groups(_levels(codes), _half(blocks, 0), _half(blocks, 2))


def _iq4_nl(blocks: Bytes) -> Groups:
    return Groups(_NONLINEAR[_nibbles(blocks[:, 2:], 16)], _half(blocks, 0))


def _mxfp4(blocks: Bytes) -> Groups:
    exponent = blocks[:, :1].astype(np.int32)
    # Levels are halves, so the step is half of 2^(exponent − 127). 255, NaN by the specification, is a number to ggml.
    return Groups(_FP4_HALVES[_nibbles(blocks[:, 1:], 16)], np.ldexp(np.float32(1), exponent - 128))


def _q2_k(blocks: Bytes) -> Groups:
    scales = blocks[:, :16]
    codes = _fields(blocks[:, 16:80], 32, bits=2)
    step = _half(blocks, 80) * (scales & 15).astype(np.float32)
    offset = _half(blocks, 82) * (scales >> 4).astype(np.float32)
    return Groups(_levels(codes.reshape(-1, 16, 16)), step, -offset)


def _q3_k(blocks: Bytes) -> Groups:
    high = _fields(blocks[:, :32], 32, bits=1).reshape(-1, 16, 16)
    low = _fields(blocks[:, 32:96], 32, bits=2).reshape(-1, 16, 16)
    packed = blocks[:, 96:108]
    scales = _fields(packed[:, :8], 8, bits=4) | _fields(packed[:, 8:], 4, bits=2) << 4
    step = _half(blocks, 108) * (scales.astype(np.float32) - 32)
    return Groups(_levels(low | high << 2, -4), step)


def _q4_k(blocks: Bytes) -> Groups:
    step, offset = _six_bit_scales(blocks)
    return Groups(_levels(_nibbles(blocks[:, 16:], 32).reshape(-1, 8, 32)), step, offset)


def _q5_k(blocks: Bytes) -> Groups:
    step, offset = _six_bit_scales(blocks)
    low = _nibbles(blocks[:, 48:], 32).reshape(-1, 8, 32)
    high = _fields(blocks[:, 16:48], 32, bits=1).reshape(-1, 8, 32)
    return Groups(_levels(low | high << 4), step, offset)


def _q6_k(blocks: Bytes) -> Groups:
    low, high = _nibbles(blocks[:, :128], 64), _fields(blocks[:, 128:192], 32, bits=2)
    scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
    codes = low.reshape(-1, 16, 16) | high.reshape(-1, 16, 16) << 4
    return Groups(_levels(codes, -32), _half(blocks, 208) * scales)


def _iq4_xs(blocks: Bytes) -> Groups:
    low = _fields(blocks[:, 4:8], 1, bits=4)
    high = _fields(blocks[:, 2:4], 1, bits=2)
    step = _half(blocks, 0) * ((low | high << 4).astype(np.float32) - 32)
    return Groups(_NONLINEAR[_nibbles(blocks[:, 8:], 16).reshape(-1, 8, 32)], step)


_SPLITTERS: dict[GGMLType, Callable[[Bytes], Groups]] = {
    GGMLType.Q8_0: _q8_0,
    GGMLType.Q4_0: _q4_0,
    GGMLType.Q4_1: _q4_1,
    GGMLType.Q5_0: _q5_0,
    GGMLType.Q5_1: _q5_1,
    GGMLType.IQ4_NL: _iq4_nl,
    GGMLType.MXFP4: _mxfp4,
    GGMLType.Q2_K: _q2_k,
    GGMLType.Q3_K: _q3_k,
    GGMLType.Q4_K: _q4_k,
    GGMLType.Q5_K: _q5_k,
    GGMLType.Q6_K: _q6_k,
    GGMLType.IQ4_XS: _iq4_xs,
}


def _half(blocks: Bytes, at: int) -> Floats:
    """The float16 at byte `at` of every block, as float32 [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _fields(data: Bytes, run: int, bits: int) -> Codes:
    """Fields of 1, 2 or 4 bits of every run of bytes: all lowest fields of the run, then all second ones, and so on.

    [blocks, n] to [blocks, n × 8 / bits].
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    runs = data.reshape(len(data), -1, 1, run)
    return (runs >> shifts & ((1 << bits) - 1)).reshape(len(data), -1)


def _nibbles(data: Bytes, run: int) -> Codes:
    """As `_fields` of 4 bits, in one group: [blocks, n] to [blocks, 1, 2 n]."""
    return _fields(data, run, bits=4)[:, None]


def _fifth_bits(data: Bytes) -> Codes:
    """The bits of 4 bytes, lowest first, each as 0 or 16: [blocks, 4] to [blocks, 1, 32]."""
    return _fields(data, 1, bits=1)[:, None] << 4


def _levels(codes: Codes, lowest: int = 0) -> Floats:
    return codes.astype(np.float32) + np.float32(lowest)


def _six_bit_scales(blocks: Bytes) -> tuple[Floats, Floats]:
    """Step and offset, float32 [blocks, 8], of the 8 groups of Q4_K and Q5_K: d, dmin, 12 bytes of scales and mins.

    Groups 0 to 3 have theirs in the lower six bits of bytes 0 to 3 and 4 to 7. Groups 4 to 7 have the lower four bits
    in the halves of bytes 8 to 11, and the upper two in the upper two bits of bytes 0 to 7.
    """
    packed = blocks[:, 4:16]
    upper = packed[:, :8] >> 6 << 4
    scales = np.concatenate((packed[:, :4] & 63, packed[:, 8:] & 15 | upper[:, :4]), axis=1)
    mins = np.concatenate((packed[:, 4:8] & 63, packed[:, 8:] >> 4 | upper[:, 4:]), axis=1)
    return _half(blocks, 0) * scales.astype(np.float32), -(_half(blocks, 2) * mins.astype(np.float32))
