import math

import numpy as np
import pytest
from deepgguf.checkpoint.fp8 import Pairing, check_scales, pair_scales, scale_values
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.checkpoint.shards import SourceTensor
from deepgguf.errors import CheckpointError, NonFiniteError


def catalog(**tensors: tuple[str, tuple[int, ...], int]) -> dict[str, SourceTensor]:
    """Tensors by name from (dtype, shape, shard); a double underscore stands for a dot."""
    named = {name.replace("__", "."): facts for name, facts in tensors.items()}
    return {name: SourceTensor(name, file, dtype, shape, 0, 0) for name, (dtype, shape, file) in named.items()}


def refused(tensors: dict[str, SourceTensor], block: tuple[int, int] | None = (128, 128)) -> str:
    with pytest.raises(CheckpointError) as error:
        pair_scales(tensors, block)
    return str(error.value)


@pytest.mark.parametrize("scale", ["q__weight_scale_inv", "q__weight_scale", "q__weight__scale"])
def test_a_scale_is_found_by_each_of_its_names_and_in_another_shard(scale):
    tensors = catalog(
        **{scale: ("F32", (2, 3), 7), "q__weight": ("F8_E4M3", (256, 384), 0), "n__weight": ("BF16", (4,), 0)}
    )
    assert pair_scales(tensors, (128, 128)) == Pairing({"q.weight": scale.replace("__", ".")}, (128, 128))


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 300), st.integers(1, 300))
def test_the_last_blocks_are_cut_to_the_edge(rows, cols, block_rows, block_cols):
    shape = (math.ceil(rows / block_rows), math.ceil(cols / block_cols))
    tensors = catalog(q__weight=("F8_E4M3", (rows, cols), 0), q__weight_scale_inv=("F32", shape, 0))
    assert pair_scales(tensors, (block_rows, block_cols)).scales == {"q.weight": "q.weight_scale_inv"}
    short = catalog(q__weight=("F8_E4M3", (rows, cols), 0), q__weight_scale_inv=("F32", (shape[0], shape[1] + 1), 0))
    assert "tensor q.weight_scale_inv: shape" in refused(short, (block_rows, block_cols))


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E8M0", "U8"])
def test_scales_come_in_five_dtypes(dtype):
    tensors = catalog(q__weight=("F8_E4M3", (128, 128), 0), q__weight_scale_inv=(dtype, (1, 1), 0))
    assert len(pair_scales(tensors, (128, 128)).scales) == 1


def test_a_checkpoint_without_fp8_has_nothing_to_pair():
    assert pair_scales(catalog(q__weight=("BF16", (128, 128), 0)), None).scales == {}


def test_two_candidates_are_an_error_that_names_both():
    tensors = catalog(
        q__weight=("F8_E4M3", (128, 128), 0), q__weight_scale=("F32", (1, 1), 0), q__weight_scale_inv=("F32", (1, 1), 0)
    )
    assert refused(tensors) == "tensor q.weight: has scales twice, q.weight_scale and q.weight_scale_inv"


def test_a_missing_scale_is_an_error():
    tensors = catalog(q__weight=("F8_E4M3", (128, 128), 0))
    assert refused(tensors) == "tensor q.weight: FP8, but there is no q.weight_scale_inv in any shard"


@pytest.mark.parametrize("weight", [{}, {"q__weight": ("BF16", (128, 128), 0)}])
def test_a_scale_without_its_fp8_weight_is_an_error(weight):
    tensors = catalog(q__weight_scale_inv=("F32", (1, 1), 0), **weight)
    assert refused(tensors) == "tensor q.weight_scale_inv: a scale, but there is no F8_E4M3 tensor q.weight"


def test_a_scale_of_another_dtype_is_an_error():
    tensors = catalog(q__weight=("F8_E4M3", (128, 128), 0), q__weight_scale_inv=("I32", (1, 1), 0))
    assert refused(tensors) == "tensor q.weight_scale_inv: scales of dtype I32, expected F32, F16, BF16 or E8M0"


def test_every_scale_s_shape_is_checked_not_only_the_first_of_a_kind():
    tensors = catalog(
        a__weight=("F8_E4M3", (128, 128), 0),
        a__weight_scale_inv=("F32", (1, 1), 0),
        b__weight=("F8_E4M3", (128, 128), 0),
        b__weight_scale_inv=("F32", (1, 2), 0),
    )
    assert refused(tensors) == (
        "tensor b.weight_scale_inv: shape [1, 2], expected [1, 1] for blocks of [128, 128] in [128, 128]"
    )


def test_fp8_of_three_dimensions_is_an_error():
    tensors = catalog(q__weight=("F8_E4M3", (2, 128, 128), 0), q__weight_scale_inv=("F32", (2, 1, 1), 0))
    assert refused(tensors) == "tensor q.weight: FP8 of shape [2, 128, 128], expected two dimensions"


def test_a_missing_block_size_is_an_error():
    tensors = catalog(q__weight=("F8_E4M3", (128, 128), 0), q__weight_scale_inv=("F32", (1, 1), 0))
    assert refused(tensors, None) == (
        "tensor q.weight: FP8, but config.json has no quantization_config.weight_block_size"
    )


@pytest.mark.parametrize("block", [(0, 128), (128, 0), (-128, 128)])
def test_a_block_size_below_one_is_an_error(block):
    tensors = catalog(q__weight=("F8_E4M3", (128, 128), 0), q__weight_scale_inv=("F32", (1, 1), 0))
    assert refused(tensors, block) == f"config.json: weight_block_size {list(block)}, both must be at least 1"


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
