"""How blocks pack numbers: fields of bits, F16 scales, the six-bit scales of Q4_K and Q5_K; in NumPy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepgguf.encodings.encoding import Bytes, Floats

Codes = NDArray[np.integer[Any]]

NONLINEAR = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
"""The levels of IQ4_NL and IQ4_XS, denser around zero (ggml-common.h, kvalues_iq4nl)."""

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
"""FP4 by its codes (OCP Microscaling Formats 1.0, table 5): sign, two bits of exponent, one of mantissa."""

E2M1_HALVES = 2 * E2M1 + 0
"""The same in halves, as ggml has them, without −0 (ggml-common.h, kvalues_mxfp4)."""


def _e4m3() -> Floats:
    """Sign, four bits of exponent with bias 7, three of mantissa (arXiv 2209.05433, table 1)."""
    codes = np.arange(256, dtype=np.int32)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    values = np.where(exponent == 0, np.ldexp(mantissa, -9), np.ldexp(8 + mantissa, exponent - 10))
    values[codes & 127 == 127] = np.nan
    signed: Floats = np.where(codes & 128, -values, values).astype(np.float32)
    return signed


E4M3 = _e4m3()
"""FP8 by its codes."""


def integers(first: int, last: int) -> Floats:
    """Levels that are whole numbers, from `first` to `last`."""
    return np.arange(first, last + 1, dtype=np.float32)


def half(blocks: Bytes, at: int) -> Floats:
    """The float16 at byte `at` of every block, as float32 [blocks, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def fields(data: Bytes, run: int, bits: int) -> Codes:
    """Fields of 1, 2 or 4 bits of every run of bytes: all lowest fields of the run, then all second ones, and so on.

    [blocks, n] to [blocks, n × 8 / bits].
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    runs = data.reshape(len(data), -1, 1, run)
    return (runs >> shifts & ((1 << bits) - 1)).reshape(len(data), -1)


def nibbles(data: Bytes, run: int) -> Codes:
    """As `fields` of 4 bits, in one group: [blocks, n] to [blocks, 1, 2 n]."""
    return fields(data, run, bits=4)[:, None]


def pairs_of_a_block(neighbours: Bytes) -> Bytes:
    """Nibbles of neighbours, the lower one first, as ggml has those of 32 weights: i low and i + 16 high.

    [blocks, 16] to [blocks, 16].
    """
    codes = np.stack((neighbours & 15, neighbours >> 4), axis=2).reshape(-1, 32)
    paired: Bytes = codes[:, :16] | codes[:, 16:] << 4
    return paired


def nibble_pairs(data: Bytes, levels: Floats) -> Floats:
    """What the two nibbles of every byte stand for, the lower one first: [rows, n] to float32 [rows, 2 n]."""
    codes = np.arange(256)
    both = np.stack((levels[codes & 15], levels[codes >> 4]), axis=1).view(np.uint64)[:, 0]  # one look-up for two
    found: Floats = np.take(both, data).view(np.float32)
    return found


def fifth_bits(data: Bytes) -> Codes:
    """The bits of 4 bytes, lowest first, each as 0 or 16: [blocks, 4] to [blocks, 1, 32]."""
    return fields(data, 1, bits=1)[:, None] << 4


def to_levels(codes: Codes, lowest: int = 0) -> Floats:
    """Codes that count levels from `lowest`."""
    return codes.astype(np.float32) + np.float32(lowest)


def six_bit_scales(blocks: Bytes) -> tuple[Floats, Floats]:
    """Step and offset, float32 [blocks, 8], of the 8 groups of Q4_K and Q5_K: d, dmin, 12 bytes of scales and mins.

    Groups 0 to 3 have theirs in the lower six bits of bytes 0 to 3 and 4 to 7. Groups 4 to 7 have the lower four bits
    in the halves of bytes 8 to 11, and the upper two in the upper two bits of bytes 0 to 7.
    """
    packed = blocks[:, 4:16]
    upper = packed[:, :8] >> 6 << 4
    scales = np.concatenate((packed[:, :4] & 63, packed[:, 8:] & 15 | upper[:, :4]), axis=1)
    mins = np.concatenate((packed[:, 4:8] & 63, packed[:, 8:] >> 4 | upper[:, 4:]), axis=1)
    return half(blocks, 0) * scales.astype(np.float32), -(half(blocks, 2) * mins.astype(np.float32))
