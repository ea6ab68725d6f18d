"""The points of the i-quants: vectors of levels of which a block holds the indices; and how their signs are stored."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepgguf import kernels
from deepgguf.encodings.bits import fields
from deepgguf.encodings.encoding import Bytes, Floats
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType


class OfPoints(Quantized, frozen=True):
    """A type whose levels are chosen several at a time."""

    narrower = GGMLType.IQ4_NL
    chosen_together = True


OF_TWO_BITS = (8, 25, 43)
"""What the levels of IQ2's points stand for (ggml-common.h, iq2xxs_grid and its like)."""

AROUND_ZERO = (-1, 0, 1)
"""What those of IQ1's do, before the shift by 1/8."""


def with_signs(magnitudes: tuple[int, ...]) -> Floats:
    """The levels that points of these magnitudes have."""
    return np.array([-m for m in reversed(magnitudes)] + list(magnitudes), np.float32)


def shifted(levels: tuple[int, ...]) -> Floats:
    """The levels up and down by 1/8, in rising order."""
    return np.array([level + shift for level in levels for shift in (-0.125, 0.125)], np.float32)


@cache
def points(type: GGMLType, levels: tuple[int, ...]) -> Floats:
    """The points of an i-quant by their indices, float32 [points, coordinates]; `levels` are what its levels stand for.

    A set has a bit for each vector, whose number has the levels as its digits, the first the lowest.
    """
    base = len(levels)
    numbers = np.flatnonzero(np.unpackbits(np.frombuffer(kernels.points(type), np.uint8), bitorder="little"))
    digits = numbers[:, None] // base ** np.arange(8 if base == 3 else 4) % base
    found: Floats = np.array(levels, np.float32)[digits]
    return found


def eight_signs(seven: NDArray[Any]) -> Bytes:
    """Bytes of eight signs, of which seven are stored: an even number of them is negative."""
    ones = np.array([number.bit_count() for number in range(128)], np.uint8)
    eight: Bytes = (seven | (ones[seven] & 1) << 7).astype(np.uint8)
    return eight


def signs_of(signs: Bytes) -> Floats:
    """The signs in the bits of every byte, the lowest first; 1 is negative: [blocks, n] to float32 [blocks, n × 8]."""
    return 1 - 2 * fields(signs, 1, bits=1).astype(np.float32)


def seven_by_four(words: NDArray[np.uint32]) -> Floats:
    """The signs of every 32 weights, seven bits for eight: uint32 [blocks, words] to float32 [blocks, words × 32]."""
    seven = words[..., None] >> np.arange(0, 28, 7, dtype=np.uint32) & 127
    return signs_of(eight_signs(seven).reshape(len(words), -1))
