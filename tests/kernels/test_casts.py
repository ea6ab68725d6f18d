"""Casts between F32, F16 and BF16: every bit and every count, against NumPy and arithmetic on integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepgguf.formats.gguf.types import GGMLType
from deepgguf.kernels import cast

pytestmark = pytest.mark.usefixtures("level")

F32, F16, BF16 = GGMLType.F32, GGMLType.F16, GGMLType.BF16
ELEMENT = {F32: np.dtype(np.uint32), F16: np.dtype(np.uint16), BF16: np.dtype(np.uint16)}
INFINITY = {F32: 0x7F800000, F16: 0x7C00, BF16: 0x7F80}
PAIRS = [(a, b) for a in ELEMENT for b in ELEMENT]

EVERY_16_BITS = np.arange(1 << 16, dtype=np.uint16)
# Each pattern of the upper half with lower halves around the places where roundings change.
LOWER_HALVES = [0x0000, 0x0001, 0x0FFF, 0x1000, 0x1001, 0x2000, 0x2FFF, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xFFFF]
MANY_F32 = np.concatenate([(EVERY_16_BITS.astype(np.uint32) << 16) | low for low in LOWER_HALVES])


def bits_to_f32(bits: NDArray[np.generic], type: GGMLType) -> NDArray[np.uint32]:
    """Exact; a NaN keeps its sign and fraction (NumPy's answer depends on the machine)."""
    words = bits.astype(np.uint32)
    if type == F16:
        nan = (words & 0x8000) << 16 | 0x7F800000 | (words & 0x3FF) << 13
        with np.errstate(invalid="ignore"):
            number = bits.view(np.float16).astype(np.float32).view(np.uint32)
        return np.where((words & 0x7FFF) > 0x7C00, nan, number)
    return words << 16 if type == BF16 else words


def f32_to_bits(bits: NDArray[np.uint32], type: GGMLType) -> NDArray[np.generic]:
    """Rounded to nearest even: by NumPy to F16; to BF16 by adding half of the last place less one, plus its lowest bit."""
    nan = (bits & 0x7FFFFFFF) > 0x7F800000
    sign = ((bits >> 16) & 0x8000).astype(np.uint16)
    if type == F16:
        with np.errstate(over="ignore", invalid="ignore"):
            halves = bits.view(np.float32).astype(np.float16).view(np.uint16)
        return np.where(nan, sign | 0x7E00, halves)
    if type == BF16:
        rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return np.where(nan, (bits >> 16) | 0x40, rounded).astype(np.uint16)
    return bits


def expected(src: NDArray[np.generic], a: GGMLType, b: GGMLType) -> tuple[NDArray[np.generic], tuple[int, int, int]]:
    dst = src if a == b else f32_to_bits(bits_to_f32(src, a), b)
    magnitude = src & ((1 << (8 * src.itemsize - 1)) - 1)
    result = dst & ((1 << (8 * dst.itemsize - 1)) - 1)
    finite = magnitude < INFINITY[a]
    nan, inf = int((magnitude > INFINITY[a]).sum()), int((magnitude == INFINITY[a]).sum())
    return dst, (nan, inf, int((finite & (result == INFINITY[b])).sum()))


def check(src: NDArray[np.generic], a: GGMLType, b: GGMLType, misaligned: int = 0) -> None:
    dst, counts = expected(src, a, b)
    source = np.zeros(src.nbytes + misaligned, np.uint8)
    source[misaligned:] = src.view(np.uint8)
    out = np.full(src.size * ELEMENT[b].itemsize + misaligned, 0xA5, np.uint8)
    assert cast(source[misaligned:], a, out[misaligned:], b) == counts
    assert (out[:misaligned] == 0xA5).all()
    np.testing.assert_array_equal(out[misaligned:].copy().view(ELEMENT[b]), dst)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_every_16_bit_pattern_and_many_of_32_bits_convert_and_count_exactly(a: GGMLType, b: GGMLType) -> None:
    check(MANY_F32 if a == F32 else EVERY_16_BITS, a, b)


@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 15, 16, 17, 31, 33, 1023, 1024, 1025, 2049])
def test_any_number_of_elements_at_any_address_is_converted(a: GGMLType, b: GGMLType, n: int) -> None:
    everything = MANY_F32 if a == F32 else EVERY_16_BITS
    check(np.random.default_rng(n).permutation(everything)[:n], a, b, misaligned=1)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=70), st.sampled_from([F32, F16, BF16]))
def test_any_floats_convert_and_count_exactly(bits: list[int], b: GGMLType) -> None:
    check(np.array(bits, np.uint32), F32, b)


@pytest.mark.parametrize(
    ("value", "half"),
    [
        (1.0 + 2**-11, 0x3C00),  # a tie goes to the even neighbour below
        (1.0 + 3 * 2**-11, 0x3C02),  # and above
        (2.0**-24, 0x0001),  # the smallest number
        (2.0**-25, 0x0000),  # half of it is a tie with zero, which is even
        (2.0**-25 * (1 + 2**-23), 0x0001),
        (65519.996, 0x7BFF),  # the last float below the middle between 65504 and 65536
        (-(2.0**-14) * (1 - 2**-12), 0x8400),  # a subnormal that rounds up to a normal number
    ],
)
def test_f16_rounds_to_nearest_even(value: float, half: int) -> None:
    out = np.zeros(2, np.uint8)
    assert cast(np.array([value], np.float32).view(np.uint8), F32, out, F16) == (0, 0, 0)
    assert out.view(np.uint16)[0] == half


def test_65520_is_the_first_number_to_overflow_f16() -> None:
    out = np.zeros(4, np.uint8)
    assert cast(np.array([65520.0, -65520.0], np.float32).view(np.uint8), F32, out, F16) == (0, 0, 2)
    assert out.view(np.uint16).tolist() == [0x7C00, 0xFC00]


def test_the_largest_f32_overflows_bf16() -> None:
    out = np.zeros(2, np.uint8)
    assert cast(np.array([np.finfo(np.float32).max]).view(np.uint8), F32, out, BF16) == (0, 0, 1)
    assert out.view(np.uint16)[0] == 0x7F80


def test_a_nan_whose_upper_half_is_that_of_infinity_stays_a_nan() -> None:
    out = np.zeros(2, np.uint8)
    assert cast(np.array([0x7F800001], np.uint32).view(np.uint8), F32, out, BF16) == (1, 0, 0)
    assert out.view(np.uint16)[0] == 0x7FC0


def test_more_nan_and_inf_than_a_16_bit_counter_holds_are_counted() -> None:
    src = np.tile(np.array([0x7FC0, 0x7F80], np.uint16), 70_000)
    out = np.zeros(src.nbytes, np.uint8)
    assert cast(src.view(np.uint8), BF16, out, BF16) == (70_000, 70_000, 0)
