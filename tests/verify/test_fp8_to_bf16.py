"""The fast comparison of FP8 with BF16 agrees with the exact one: it never passes what that refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.gguf.types import GGMLType
from deepgguf.verify.fp8_to_bf16 import surely_equal
from deepgguf.verify.source_values import FP8_VALUES, fp8_bits
from deepgguf.verify.workers import Scratch

BLOCK = (2, 128)
EVERY_CODE = np.tile(np.arange(256, dtype=np.uint8), (3, 1))
NOT_NAN = np.where((EVERY_CODE & 127) == 127, 0, EVERY_CODE).astype(np.uint8)


def exact(codes: np.ndarray, scales: np.ndarray, first_row: int = 0) -> np.ndarray:
    return fp8_bits(GGMLType.BF16, codes, scales, first_row, BLOCK, Scratch()).copy()


def fast(codes: np.ndarray, scales: np.ndarray, found: np.ndarray, first_row: int = 0) -> bool:
    return surely_equal(codes, scales, first_row, BLOCK, found, Scratch())


def a_scale(rng: np.random.Generator) -> np.ndarray:
    return np.exp(rng.uniform(-20, 4, (2, 2))).astype(np.float32)


def test_the_values_of_fp8():
    shown = {0x00: 0, 0x01: 2**-9, 0x07: 7 * 2**-9, 0x08: 2**-6, 0x38: 1, 0x7E: 448, 0xB9: -1.125, 0x80: 0}
    assert {code: FP8_VALUES[code] for code in shown} == shown
    assert np.flatnonzero(np.isnan(FP8_VALUES)).tolist() == [0x7F, 0xFF]


@given(seed=st.integers(0, 2**32), first_row=st.sampled_from([0, 1]))
def test_what_is_equal_is_found_equal(seed, first_row):
    scales = a_scale(np.random.default_rng(seed))
    found = exact(NOT_NAN, scales, first_row)
    ties = (found.astype(np.uint32) << 16).view(np.float32)
    product = scales[(np.arange(3) + first_row) // 2][:, np.arange(256) // 128] * FP8_VALUES[NOT_NAN]
    is_tie = np.abs(product.view(np.int32).astype(np.int64) - ties.view(np.int32)) == 1 << 15
    assert fast(NOT_NAN, scales, found, first_row) == (not is_tie.any())


@given(seed=st.integers(0, 2**32), bit=st.integers(0, 15))
def test_a_flipped_bit_is_never_passed(seed, bit):
    rng = np.random.default_rng(seed)
    scales = a_scale(rng)
    found = exact(NOT_NAN, scales)
    found[rng.integers(3), rng.integers(256)] ^= np.uint16(1 << bit)
    assert not fast(NOT_NAN, scales, found)


@given(st.integers(0, 65535), st.integers(0, 255))
def test_any_other_bits_are_never_passed(bits, code):
    scales = np.full((2, 2), 0.0123, np.float32)
    found = exact(NOT_NAN, scales)
    equal = int(found[1, code]) == bits
    found[1, code] = bits
    assert fast(NOT_NAN, scales, found) == equal


@pytest.mark.parametrize("scale", [0.0, 1e-35, 1e3, np.nan, np.inf])
def test_unusual_scales_are_left_to_the_exact_comparison(scale):
    scales = np.full((2, 2), scale, np.float32)
    assert not fast(NOT_NAN, scales, exact(NOT_NAN, scales))


def test_nan_is_left_to_the_exact_comparison():
    scales = np.full((2, 2), 0.5, np.float32)
    assert not fast(EVERY_CODE, scales, exact(EVERY_CODE, scales))
