"""FP8: what scales mean, which are refused, and that kernel and NumPy agree for every size of block."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.encodings.encoding import Range, Stored
from deepgguf.encodings.fp8 import Fp8, check_scales, scale_values
from deepgguf.errors import CheckpointError, NonFiniteError
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
    assert out.view(np.float32).tobytes() == encoding.values(stored).tobytes()


def test_rows_within_a_block_need_its_scales_only():
    assert Fp8((128, 128), "F16").ranges(300, 130, 100) == (Range(39_000, 30_000), Range(6, 6))


def test_a_run_of_rows_ends_best_where_a_block_does():
    assert Fp8((128, 64), "F32").cut_rows == 128


def test_a_scale_that_is_refused_is_named_as_the_checkpoint_names_it():
    stored = Stored("q.weight", 0, 1, 1, (np.zeros(1, np.uint8), np.zeros(4, np.uint8)))
    with pytest.raises(CheckpointError, match=r"^tensor q\.weight_scale: the scale of block \[0, 0\] is 0\.0"):
        Fp8((1, 1), "F32", "_scale").decode(stored, GGMLType.F32, np.empty(4, np.uint8))


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
        f"tensor q.weight_scale_inv: the scale of block [11, 2] is {shown}, expected a positive number"
    )
