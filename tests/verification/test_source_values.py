"""Source weights become the bits that a file must hold, by NumPy alone."""

import numpy as np
import pytest
from deepgguf.verification.source_values import (
    Fp8Rows,
    fp8_values,
    from_bits,
    rounded_to,
    same_bits,
    scale_floats,
    to_bits,
    to_floats,
)
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.executors.threads import Buffers
from deepgguf.formats.gguf.types import GGMLType

EVERY_CODE = np.arange(256, dtype=np.uint8)
EXACT_TYPES = [GGMLType.BF16, GGMLType.F16, GGMLType.F32]

# arXiv 2209.05433, table 1, written as arithmetic: the code under test moves bits instead.
_EXPONENT, _MANTISSA = EVERY_CODE.astype(int) >> 3 & 15, EVERY_CODE & 7
E4M3 = np.where(_EXPONENT == 0, _MANTISSA * 2.0**-9, (8 + _MANTISSA) * 2.0 ** (_EXPONENT - 10.0))
E4M3[_EXPONENT * 8 + _MANTISSA == 127] = np.nan
E4M3 = np.where(EVERY_CODE & 128, -E4M3, E4M3).astype(np.float32)

SCALES = {
    "as quantizers make them": [1.2345e-4, 3.3e-4, 7.7e-3],
    "negative": [-1.2345e-4, -1.0],
    "powers of two": [2.0**-100, 2.0**-40, 1.0, 2.0**100],
    "the ends of E8M0": [2.0**-127, 2.0**-126, 2.0**126, 2.0**127],
    "with the mantissa of BF16, which makes ties": [1 + 2**-7, 1 + 3 * 2**-7, 1.9921875, (1 + 85 * 2**-7) * 2**-13],
    "making subnormal products": [1e-36, 3e-38, 2.0**-133, 1.4e-45],
    "making products that overflow": [1e36, 7.5e35, 3.4e38],
    "either side of what the fast way can hold": [255.99998, 256.0, 127.0, -256.0, 257.3],
    "zero": [0.0, -0.0],
    "not finite": [np.inf, -np.inf, np.nan],
}


def f32(value: float) -> np.ndarray:
    return np.array([value], np.float32)


def reference(codes, scales, first, block):
    """float32 products by one look-up and one multiplication for each weight."""
    rows, cols = codes.shape
    down, right = (first + np.arange(rows)) // block[0] - first // block[0], np.arange(cols) // block[1]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return scales[down[:, None], right] * E4M3[codes]


def assert_same_floats(found, expected):
    """Bit by bit, except that all NaN are one."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(found[~nan].view(np.uint32), expected[~nan].view(np.uint32))


def test_the_values_of_fp8():
    shown = {0x00: 0, 0x01: 2**-9, 0x07: 7 * 2**-9, 0x08: 2**-6, 0x38: 1, 0x7E: 448, 0xB9: -1.125, 0x80: 0}
    values = fp8_values(Fp8Rows(EVERY_CODE[None], np.ones((1, 1), np.float32), 0, (1, 256)), Buffers())[0]
    assert {code: values[code] for code in shown} == shown
    assert np.flatnonzero(np.isnan(values)).tolist() == [0x7F, 0xFF]
    assert np.signbit(values[0x80])


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


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
def test_every_code_of_fp8_times_every_kind_of_scale(scales):
    scales = np.array(scales, np.float32)[:, None]
    codes = np.tile(EVERY_CODE, (len(scales), 1))
    found = fp8_values(Fp8Rows(codes, scales, 0, (1, 256)), Buffers())
    assert_same_floats(found, reference(codes, scales, 0, (1, 256)))


@st.composite
def fp8_rows(draw):
    """Some rows of a matrix that its blocks may or may not divide, one block being as large as it or one weight."""
    rows, cols = draw(st.integers(1, 9)), draw(st.integers(1, 70))
    first = draw(st.integers(0, 20))
    block = (draw(st.sampled_from([1, 2, 3, 7, 128, 1 << 40])), draw(st.sampled_from([1, 2, 5, 32, 70, 1 << 40])))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    down, across = (first + rows - 1) // block[0] - first // block[0] + 1, -(-cols // block[1])
    kind = np.array(draw(st.sampled_from(list(SCALES.values()))), np.float32)
    scales = kind[random.integers(0, len(kind), (down, across))]
    return Fp8Rows(random.integers(0, 256, (rows, cols), np.uint8), scales, first, block)


@given(fp8_rows())
def test_fp8_rows_are_multiplied_by_the_scales_of_their_blocks(stored):
    found = fp8_values(stored, Buffers())
    assert_same_floats(found, reference(stored.codes, stored.scales, stored.first, stored.block))


@pytest.mark.parametrize("type", EXACT_TYPES)
@given(stored=fp8_rows(), place=st.integers(0, 2**32), bit=st.integers(0, 31))
def test_a_flipped_bit_is_never_taken_for_the_rounded_value(type, stored, place, bit):
    buffers = Buffers()
    values = fp8_values(stored, buffers)
    found = to_bits(type, values).copy()
    flat = found.reshape(-1)
    flat[place % flat.size] ^= flat.dtype.type(1 << bit % (8 * flat.itemsize))
    assert not rounded_to(type, values, found, buffers)


@pytest.mark.parametrize("type", [GGMLType.BF16, GGMLType.F32])
@pytest.mark.parametrize("kind", ["as quantizers make them", "negative", "powers of two"])
def test_rounded_values_are_seen_to_be_right(type, kind):
    scales = np.array(SCALES[kind], np.float32)[:, None]
    codes = np.tile(EVERY_CODE[:127], (len(scales), 1))
    values = fp8_values(Fp8Rows(codes, scales, 0, (1, 127)), Buffers())
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
