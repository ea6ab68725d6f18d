"""The bits that weights must have in a file, by NumPy alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.verification.plain_bits import from_bits, rounded_to, same_bits, to_bits

EXACT_TYPES = [GGMLType.BF16, GGMLType.F16, GGMLType.F32]


def f32(value: float) -> np.ndarray:
    return np.array([value], np.float32)


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


@given(st.integers(0, 65535), st.sampled_from([GGMLType.BF16, GGMLType.F16]))
def test_half_as_wide_numbers_come_back_from_f32(bits, type):
    data = np.array([bits], np.uint16)
    value = from_bits(type, data)
    if not np.isnan(value).any():
        assert to_bits(type, value) == data


@pytest.mark.parametrize("type", EXACT_TYPES)
@given(patterns=st.lists(st.integers(0, 2**32 - 1), min_size=1), place=st.integers(0, 2**32), bit=st.integers(0, 31))
def test_a_flipped_bit_is_never_taken_for_the_rounded_value(type, patterns, place, bit):
    values = np.array(patterns, np.uint32).view(np.float32)
    found = to_bits(type, values).copy()
    found[place % found.size] ^= found.dtype.type(1 << bit % (8 * found.itemsize))
    assert not rounded_to(type, values, found, Buffers())


@pytest.mark.parametrize("type", [GGMLType.BF16, GGMLType.F32])
def test_rounded_values_are_seen_to_be_right(type):
    values = np.random.default_rng(0).normal(0, 0.02, (3, 127)).astype(np.float32)
    assert rounded_to(type, values, to_bits(type, values), Buffers())


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20), st.data())
def test_what_is_taken_for_rounded_is_rounded(patterns, data):
    values = np.array(patterns, np.uint32).view(np.float32)
    rounded = to_bits(GGMLType.BF16, values)
    near = data.draw(st.lists(st.integers(-1, 1), min_size=len(values), max_size=len(values)))
    found = rounded + np.array(near).astype(np.uint16)
    if rounded_to(GGMLType.BF16, values, found, Buffers()):
        np.testing.assert_array_equal(found, rounded)


@pytest.mark.parametrize("bits", [0x7F7F_8000, 0x3F80_8000, 0x3F81_8000, 0x8000_8000])
def test_a_tie_is_left_open(bits):
    value = np.array([bits], np.uint32).view(np.float32)
    for upper in (bits >> 16, (bits >> 16) + 1):
        assert not rounded_to(GGMLType.BF16, value, np.array([upper], np.uint16), Buffers())


@pytest.mark.parametrize("bits", [0x7FFF_FFFF, 0xFFFF_FFFF, 0x7FC0_0000, 0x7F80_0001])
def test_nan_is_left_open_whatever_its_payload(bits):
    value = np.array([bits], np.uint32).view(np.float32)
    found = np.arange(1 << 16, dtype=np.uint16)
    assert not any(rounded_to(GGMLType.BF16, value, found[i : i + 1], Buffers()) for i in (0, 0x7FC0, 0x7FFF, 0x8000))


@given(st.integers(1, 40), st.integers(0, 10**6), st.integers(0, 7))
def test_one_other_bit_makes_other_bits(size, place, bit):
    data = np.arange(size, dtype=np.uint8)
    other = data.copy()
    assert same_bits(data, other)
    other[place % size] ^= 1 << bit
    assert not same_bits(data, other)
