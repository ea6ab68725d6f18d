"""Source weights become the bits that a file must hold, by NumPy alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.executors.threads import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.verification.source_values import FP8_VALUES, fp8_bits, from_bits, scale_floats, to_bits, to_floats

EVERY_CODE = np.tile(np.arange(256, dtype=np.uint8), (5, 1))


def f32(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def test_the_values_of_fp8():
    shown = {0x00: 0, 0x01: 2**-9, 0x07: 7 * 2**-9, 0x08: 2**-6, 0x38: 1, 0x7E: 448, 0xB9: -1.125, 0x80: 0}
    assert {code: FP8_VALUES[code] for code in shown} == shown
    assert np.flatnonzero(np.isnan(FP8_VALUES)).tolist() == [0x7F, 0xFF]
    assert np.signbit(FP8_VALUES[0x80])


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (1.0, 0x3F80),
        (1 + 2**-8, 0x3F80),  # a tie goes to even
        (1 + 3 * 2**-8, 0x3F82),
        (1 + 2**-8 + 2**-20, 0x3F81),
        (-0.0, 0x8000),
        (3.4e38, 0x7F80),
        (np.inf, 0x7F80),
        (2**-133, 0x0001),
    ],
)
def test_bf16_is_rounded_to_nearest_even(value, bits):
    assert to_bits(GGMLType.BF16, f32(value)).tolist() == [bits]


def test_nan_stays_nan():
    for type in (GGMLType.F32, GGMLType.F16, GGMLType.BF16):
        assert np.isnan(from_bits(type, to_bits(type, f32(np.nan)))).all()


@given(st.integers(0, 65535), st.sampled_from(["BF16", "F16"]))
def test_half_as_wide_numbers_come_back_from_f32(bits, dtype):
    data = np.array([bits], np.uint16)
    value = to_floats(dtype, data.view(np.uint8))
    if not np.isnan(value).any():
        assert to_bits(GGMLType[dtype], value) == data


def test_scales_of_every_dtype():
    assert scale_floats("F32", f32(0.3).view(np.uint8)).tolist() == f32(0.3).tolist()
    assert scale_floats("BF16", np.array([0x80, 0x3F], np.uint8)).tolist() == [1.0]
    assert scale_floats("F8_E8M0", np.array([0, 126, 127, 254], np.uint8)).tolist() == [2**-127, 0.5, 1, 2**127]
    assert np.isnan(scale_floats("U8", np.array([255], np.uint8))).all()


@pytest.mark.parametrize("type", [GGMLType.BF16, GGMLType.F16, GGMLType.F32])
@given(seed=st.integers(0, 2**32), first_row=st.integers(0, 3))
def test_fp8_rows_are_multiplied_by_the_scales_of_their_blocks(type, seed, first_row):
    rows, columns = 2, 100  # the last block is cut to the edge
    scales = np.exp(np.random.default_rng(seed).uniform(-20, 4, (4, 3))).astype(np.float32)
    touched = scales[first_row // rows : (first_row + 4) // rows + 1]
    found = fp8_bits(type, EVERY_CODE, touched, first_row, (rows, columns), Buffers())
    by_weight = scales[(first_row + np.arange(5)) // rows][:, np.arange(256) // columns]
    with np.errstate(over="ignore"):
        expected = from_bits(type, to_bits(type, by_weight * FP8_VALUES[EVERY_CODE]))
    np.testing.assert_array_equal(from_bits(type, found), expected)


def test_fp8_rows_of_more_than_256_blocks():
    codes = np.tile(np.arange(256, dtype=np.uint8), (1, 3))
    scales = np.arange(1, 385, dtype=np.float32)[None]
    found = fp8_bits(GGMLType.F32, codes, scales, 0, (1, 2), Buffers())
    np.testing.assert_array_equal(from_bits(GGMLType.F32, found), scales[:, np.arange(768) // 2] * FP8_VALUES[codes])
