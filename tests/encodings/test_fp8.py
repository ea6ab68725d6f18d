"""FP8: what scales mean, which are refused, and that kernel and NumPy agree for every size of block."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.encodings.encoding import Range, Stored
from deepgguf.encodings.fp8 import Fp8
from deepgguf.encodings.scaled import ROW, TENSOR, check_scales, scale_values
from deepgguf.errors import CheckpointError, NonFiniteError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType

FINITE = np.array([code for code in range(256) if code & 0x7F != 0x7F], np.uint8)


@pytest.mark.parametrize("first", [0, 3, 11])
@pytest.mark.parametrize(
    ("block", "scales"), [((5, 7), (5, 3)), ((24, 20), (1, 1)), ((1, 20), (24, 1)), ((128, 128), (1, 1))],
    ids=["blocks", "one for the tensor", "one for each row", "a block larger than the tensor"],
)  # fmt: skip
def test_the_kernel_gives_what_the_bits_stand_for(block, scales, first):
    rng = np.random.default_rng(0)
    codes, by_block = rng.choice(FINITE, (24, 20)), rng.uniform(1e-4, 2, scales).astype(np.float32)
    encoding, rows = Fp8(block, "F32"), 24 - first
    of_codes, of_scales = encoding.ranges(20, first, rows)
    blobs = tuple(
        data.reshape(-1).view(np.uint8)[start : start + nbytes]
        for data, (start, nbytes) in ((codes, of_codes), (by_block, of_scales))
    )
    stored, out = Stored("q.weight", first, rows, 20, blobs), np.empty(rows * 20 * 4, np.uint8)
    assert encoding.decode(stored, GGMLType.F32, out) == (0, 0, 0)
    assert out.view(np.float32).tobytes() == encoding.values(stored, Buffers()).tobytes()


@pytest.mark.parametrize(
    ("block", "same", "scales"), [(ROW, (1, 20), (24, 1)), (TENSOR, (24, 20), (1, 1))], ids=["a row", "the tensor"]
)
@pytest.mark.parametrize("type", [GGMLType.F32, GGMLType.BF16])
def test_a_block_as_wide_as_any_tensor_is_cut_to_its_edge(block, same, scales, type):
    rng = np.random.default_rng(1)
    codes, by_block = rng.choice(FINITE, (24, 20)), rng.uniform(1e-4, 2, scales).astype(np.float32)
    stored = Stored("q.weight", 0, 24, 20, (codes.reshape(-1), by_block.reshape(-1).view(np.uint8)))
    made = [np.empty(24 * 20 * (4 if type is GGMLType.F32 else 2), np.uint8) for _ in range(2)]
    for encoding, out in zip((Fp8(block, "F32"), Fp8(same, "F32")), made, strict=True):
        assert [r.nbytes for r in encoding.ranges(20, 0, 24)] == [480, by_block.nbytes]
        encoding.decode(stored, type, out)
    assert made[0].tobytes() == made[1].tobytes()
    assert Fp8(block, "F32").values(stored, Buffers()).tobytes() == Fp8(same, "F32").values(stored, Buffers()).tobytes()


def test_rows_within_a_block_need_its_scales_only():
    assert Fp8((128, 128), "F16").ranges(300, 130, 100) == (Range(39_000, 30_000), Range(6, 6))


def test_a_run_of_rows_ends_best_where_a_block_does():
    assert Fp8((128, 64), "F32").cut_rows == 128


def test_a_scale_that_is_refused_is_named_as_the_checkpoint_names_it():
    stored = Stored("q.weight", 0, 1, 1, (np.zeros(1, np.uint8), np.zeros(4, np.uint8)))
    with pytest.raises(CheckpointError, match=r"^tensor q\.weight_scale: the scale of block \[0, 0\] is 0\.0"):
        Fp8((1, 1), "F32", "weight_scale").decode(stored, GGMLType.F32, np.empty(4, np.uint8))


@pytest.mark.parametrize("dtype", ["F8_E8M0", "U8"])
def test_every_e8m0_code_is_its_power_of_two(dtype):
    values = scale_values(bytes(range(256)), dtype)
    assert values.dtype == np.float32
    assert [float(v) for v in values[:255]] == [2.0 ** (code - 127) for code in range(255)]
    assert np.isnan(values[255])


@pytest.mark.parametrize(("dtype", "stored"), [("F32", "<f4"), ("F16", "<f2")])
def test_float_scales_are_read_little_endian(dtype, stored):
    values = np.array([1e-4, 0.5, 3.0, 65504.0], stored)
    assert scale_values(values.tobytes(), dtype).tolist() == values.astype(np.float64).tolist()


@given(st.lists(st.floats(width=32, min_value=0, allow_infinity=False)))
def test_bf16_scales_are_the_upper_half_of_float32(numbers):
    bits = np.array(numbers, "<f4").view("<u4") & 0xFFFF0000
    upper = (bits >> 16).astype("<u2")
    assert scale_values(upper.tobytes(), "BF16").tolist() == bits.view("<f4").tolist()


def test_positive_finite_scales_pass_denormals_and_maximum_included():
    check_scales(np.array([[1e-45, 2.0**-127, 3.4e38]], np.float32), "tensor q.weight_scale_inv")


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (math.nan, NonFiniteError, "nan"),
        (math.inf, NonFiniteError, "inf"),
        (-math.inf, NonFiniteError, "-inf"),
        (0.0, CheckpointError, "0.0"),
        (-0.0, CheckpointError, "-0.0"),
        (-0.5, CheckpointError, "-0.5"),
    ],
)
def test_a_scale_that_is_not_a_positive_number_is_named_by_its_block(value, error, shown):
    scales = np.ones((3, 4), np.float32)
    scales[1, 2] = value
    with pytest.raises(CheckpointError) as raised:
        check_scales(scales, "tensor q.weight_scale_inv", first_row=10)
    assert type(raised.value) is error
    assert str(raised.value) == (
        f"tensor q.weight_scale_inv: the scale of block [11, 2] is {shown}, expected a positive number; "
        "compare the shard's checksum with the original's"
    )


def test_scales_that_are_all_zero_may_be_those_of_a_sample_without_weights():
    with pytest.raises(CheckpointError, match="; a sample made with `sparse=True` has no weights$"):
        check_scales(np.zeros((3, 4), np.float32), "tensor q.weight_scale_inv")


EVERY_CODE = np.arange(256, dtype=np.uint8)
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


def values_of(codes, scales, first, block, dtype="F32"):
    """What `Fp8.values` makes of rows, the first of which is row `first`; scales are those of the blocks that they touch."""
    blobs = (np.ascontiguousarray(codes).reshape(-1), np.ascontiguousarray(scales).reshape(-1).view(np.uint8))
    return Fp8(block, dtype).values(Stored("w", first, *codes.shape, blobs), Buffers())


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
    values = values_of(EVERY_CODE[None], np.ones((1, 1), np.float32), 0, (1, 256))[0]
    assert {code: values[code] for code in shown} == shown
    assert np.flatnonzero(np.isnan(values)).tolist() == [0x7F, 0xFF]
    assert np.signbit(values[0x80])


@pytest.mark.parametrize("scales", SCALES.values(), ids=SCALES.keys())
def test_every_code_of_fp8_times_every_kind_of_scale(scales):
    scales = np.array(scales, np.float32)[:, None]
    codes = np.tile(EVERY_CODE, (len(scales), 1))
    found = values_of(codes, scales, 0, (1, 256))
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
    return random.integers(0, 256, (rows, cols), np.uint8), scales, first, block


@given(fp8_rows())
def test_fp8_rows_are_multiplied_by_the_scales_of_their_blocks(stored):
    assert_same_floats(values_of(*stored), reference(*stored))


@pytest.mark.parametrize(
    ("dtype", "stored", "meant"),
    [
        ("F32", np.array([0.3], np.float32), [np.float32(0.3)]),
        ("F16", np.array([0.3], np.float16), [np.float32(np.float16(0.3))]),
        ("BF16", np.array([0x3F80], np.uint16), [1.0]),
        ("F8_E8M0", np.array([0, 126, 127, 254], np.uint8), [2**-127, 0.5, 1, 2**127]),
        ("U8", np.array([128], np.uint8), [2]),
    ],
)
def test_a_scale_of_every_dtype_multiplies_by_what_it_stands_for(dtype, stored, meant):
    ones = np.full((len(stored), 1), 0x38, np.uint8)
    assert values_of(ones, stored, 0, (1, 1), dtype).ravel().tolist() == meant


@pytest.mark.parametrize("dtype", ["F8_E8M0", "U8"])
def test_the_last_code_of_e8m0_is_nan(dtype):
    assert np.isnan(values_of(np.full((1, 1), 0x38, np.uint8), np.array([255], np.uint8), 0, (1, 1), dtype)).all()
