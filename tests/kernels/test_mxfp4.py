"""Exponents of MXFP4, where ggml's logarithm rounds up or its conversion to a byte wraps around, and ties."""

import numpy as np
import pytest
from numpy.typing import NDArray
from ours import assert_same_blocks, quantize

from deepgguf.formats.gguf.types import GGMLType

pytestmark = pytest.mark.usefixtures("level")

MXFP4 = GGMLType.MXFP4
# Magnitudes of FP4 (E2M1), doubled, and what lies halfway between them (OCP Microscaling Formats, version 1.0).
MAGNITUDES = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.float32)
MIDDLES = (MAGNITUDES[1:] + MAGNITUDES[:-1]) / 2


def largest_of_blocks(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """One block for each float, which is its largest weight; the others are fractions of it."""
    largest = bits.astype(np.uint32).view(np.float32)
    with np.errstate(under="ignore"):
        return np.outer(largest, np.linspace(-1, 1, 32, dtype=np.float32)).astype(np.float32)


def test_the_exponent_is_ggmls_just_below_and_above_every_power_of_two() -> None:
    powers = np.arange(1, 256, dtype=np.int64) << 23
    bits = (powers[:, None] + np.arange(-120, 20)).reshape(-1)
    assert_same_blocks(MXFP4, largest_of_blocks(bits[bits < 0x7F800000]))


def test_the_exponent_is_ggmls_for_subnormal_weights() -> None:
    powers = 1 << np.arange(23, dtype=np.int64)
    bits = np.unique((powers[:, None] + np.arange(-50, 50)).reshape(-1))
    assert_same_blocks(MXFP4, largest_of_blocks(bits[bits >= 0]))


def test_the_exponent_is_ggmls_for_every_upper_half_of_a_float() -> None:
    assert_same_blocks(MXFP4, largest_of_blocks((np.arange(0x7F80, dtype=np.int64) << 16) | 0x9999))


def test_the_largest_float_has_the_exponent_of_two_to_the_128() -> None:
    row = np.full((1, 32), np.finfo(np.float32).max)
    assert quantize(MXFP4, row)[0].tolist() == [128 - 2 + 127] + [0x55] * 16
    assert_same_blocks(MXFP4, row)


@pytest.mark.parametrize("exponent", [-126, -125, -124, -100, -1, 0, 1, 50, 126, 127])
def test_of_two_magnitudes_equally_near_the_smaller_is_taken(exponent: int) -> None:
    unit = np.ldexp(np.float32(1), exponent - 3)
    with np.errstate(under="ignore"):
        ties = (MIDDLES * unit).astype(np.float32)
        row = np.zeros((1, 64), np.float32)
        row[0, :7], row[0, 7:14] = ties, -ties
        row[0, 32:39], row[0, 39:46] = np.nextafter(ties, np.float32(np.inf)), np.nextafter(-ties, np.float32(-np.inf))
        row[0, [31, 63]] = 8 * unit
    assert_same_blocks(MXFP4, row)
    if exponent > -120:
        first = quantize(MXFP4, row)[0, 1:17] & 0xF
        assert first[:14].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 9, 10, 11, 12, 13, 14]
