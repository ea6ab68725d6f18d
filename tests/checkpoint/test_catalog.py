"""Headers to tensors: which scales belong to which weights, and what does not fit together."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.checkpoint.catalog import catalog
from deepgguf.encodings.f16 import F16
from deepgguf.encodings.f32 import F32
from deepgguf.encodings.fp8 import Fp8
from deepgguf.encodings.opaque import Opaque
from deepgguf.encodings.scaled import DEEPSEEK, ROW, TENSOR
from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import TensorHeader
from deepgguf.tensors.source_tensor import Blob, SourceTensor

Block = tuple[int, int] | None


def made(*shards: list[TensorHeader], block: Block = (128, 128)) -> dict[str, SourceTensor]:
    """The catalog of these shards."""
    headers = {header.name: header for shard in shards for header in shard}
    blobs = {h.name: Blob(file, h.offset, h.nbytes) for file, shard in enumerate(shards) for h in shard}
    return catalog(headers, blobs, {} if block is None else {"quant_method": "fp8", "weight_block_size": list(block)})


def of(block: Block = (128, 128), **tensors: tuple[str, tuple[int, ...]]) -> dict[str, SourceTensor]:
    """The catalog of one shard, from (dtype, shape) by name; a double underscore stands for a dot."""
    named = {name.replace("__", "."): facts for name, facts in tensors.items()}
    return made([TensorHeader(name, *facts, 0, 0) for name, facts in named.items()], block=block)


def refused(tensors: dict[str, SourceTensor]) -> str:
    """What is said of the one tensor that cannot be read."""
    (encoding,) = (t.encoding for t in tensors.values() if isinstance(t.encoding, Opaque))
    with pytest.raises(CheckpointError) as error:
        encoding.refuse()
    return str(error.value)


@pytest.mark.parametrize("scale", ["weight_scale_inv", "weight_scale", "weight.scale", "scale"])
def test_a_scale_is_found_by_each_of_its_names_and_in_another_shard(scale):
    weights = TensorHeader("q.weight", "F8_E4M3", (256, 384), 80, 98304)
    scales = TensorHeader(f"q.{scale}", "F32", (2, 3), 100, 24)
    assert made([scales], [weights]) == {
        "q.weight": SourceTensor(
            "q.weight", (256, 384), Fp8((128, 128), "F32", scale), (Blob(1, 80, 98304), Blob(0, 100, 24))
        )
    }


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 300), st.integers(1, 300))
def test_the_last_blocks_are_cut_to_the_edge(rows, cols, block_rows, block_cols):
    block, (high, wide) = (block_rows, block_cols), (math.ceil(rows / block_rows), math.ceil(cols / block_cols))
    weights = ("F8_E4M3", (rows, cols))
    right = of(block, q__weight=weights, q__weight_scale_inv=("F32", (high, wide)))
    assert right["q.weight"].encoding == Fp8(block, "F32")
    wrong = of(block, q__weight=weights, q__weight_scale_inv=("F32", (high, wide + 1)))
    assert "tensor q.weight_scale_inv: shape" in refused(wrong)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E8M0", "U8"])
def test_scales_come_in_five_dtypes(dtype):
    tensors = of(q__weight=("F8_E4M3", (128, 128)), q__weight_scale_inv=(dtype, (1, 1)))
    assert tensors["q.weight"].encoding == Fp8((128, 128), dtype)


def test_two_candidates_are_an_error_that_names_both():
    tensors = of(
        q__weight=("F8_E4M3", (128, 128)), q__weight_scale=("F32", (1, 1)), q__weight_scale_inv=("F32", (1, 1))
    )
    assert refused(tensors) == "tensor q.weight: has scales twice, q.weight_scale_inv and q.weight_scale"


def test_a_missing_scale_is_an_error():
    tensors = of(q__weight=("F8_E4M3", (128, 128)))
    assert refused(tensors) == (
        "tensor q.weight: FP8, but there is no q.weight_scale_inv in any shard; "
        "download the shard that has it, or compare with the original checkpoint"
    )


@pytest.mark.parametrize(
    ("weight", "instead"),
    [
        ({}, "there is no q.weight; compare with the original checkpoint"),
        (
            {"q__weight": ("BF16", (128, 128))},
            "q.weight is BF16; if the weights were dequantized and their scales left behind, leave these out with `drop`",
        ),
    ],
)
def test_a_scale_of_no_quantized_weight_is_an_error(weight, instead):
    tensors = of(q__weight_scale_inv=("F32", (1, 1)), **weight)
    assert refused(tensors) == f"tensor q.weight_scale_inv: belongs to quantized weights, but {instead}"


def test_a_scale_of_another_dtype_is_an_error():
    tensors = of(q__weight=("F8_E4M3", (128, 128)), q__weight_scale_inv=("I32", (1, 1)))
    assert refused(tensors) == "tensor q.weight_scale_inv: scales of dtype I32, expected F32, F16, BF16 or E8M0"


def test_every_scale_s_shape_is_checked_not_only_the_first_of_a_kind():
    tensors = of(
        a__weight=("F8_E4M3", (128, 128)),
        a__weight_scale_inv=("F32", (1, 1)),
        b__weight=("F8_E4M3", (128, 128)),
        b__weight_scale_inv=("F32", (1, 2)),
    )
    assert refused(tensors) == (
        "tensor b.weight_scale_inv: shape [1, 2], expected [1, 1] for blocks of [128, 128] in [128, 128]; "
        "compare the sizes of blocks in quantization_config with the original's"
    )


def test_fp8_of_three_dimensions_is_an_error():
    tensors = of(q__weight=("F8_E4M3", (2, 128, 128)), q__weight_scale_inv=("F32", (2, 1, 1)))
    assert refused(tensors) == "tensor q.weight: FP8 of shape [2, 128, 128], expected two dimensions"


@pytest.mark.parametrize(
    ("block", "shape", "found"),
    [
        (None, (), TENSOR), (None, (1,), TENSOR), (None, (1, 1), TENSOR),
        (None, (300,), ROW), (None, (300, 1), ROW), (None, (3, 4), DEEPSEEK),
        ((128, 128), (300, 1), ROW), ((128, 128), (1,), TENSOR), ((100, 500), (3, 1), (100, 500)),
    ],
)  # fmt: skip
def test_blocks_are_the_config_s_unless_there_is_one_scale_for_each_row_or_for_all(block, shape, found):
    tensors = of(block, q__weight=("F8_E4M3", (300, 500)), q__weight_scale=("F32", shape))
    assert tensors["q.weight"].encoding == Fp8(found, "F32", "weight_scale")


def test_scales_that_fit_no_block_are_an_error_where_the_config_says_no_size():
    tensors = of(None, q__weight=("F8_E4M3", (300, 500)), q__weight_scale_inv=("F32", (5, 5)))
    assert refused(tensors) == (
        "tensor q.weight_scale_inv: shape [5, 5] for weights of [300, 500], but config.json says no size of blocks; "
        "add quantization_config.weight_block_size, as the original has it"
    )


@pytest.mark.parametrize("block", [(0, 128), (128, 0), (-128, 128), (2**63, 128)])
def test_a_block_size_below_one_or_beyond_reason_is_an_error(block):
    tensors = of(block, q__weight=("F8_E4M3", (128, 128)), q__weight_scale_inv=("F32", (1, 1)))
    assert refused(tensors) == (
        f"config.json: quantization_config.weight_block_size is {list(block)}, expected two sizes of 1 to 2^32"
    )


def test_every_tensor_has_its_form_and_its_blobs_in_the_order_of_the_shards():
    first = [TensorHeader("n.weight", "F32", (4,), 100, 16), TensorHeader("q.weight_scale_inv", "F32", (1, 1), 116, 4)]
    second = [TensorHeader("q.weight", "F8_E4M3", (128, 128), 80, 16384), TensorHeader("h", "F16", (2, 2), 16464, 8)]
    assert list(made(first, second).values()) == [
        SourceTensor("n.weight", (4,), F32(), (Blob(0, 100, 16),)),
        SourceTensor("q.weight", (128, 128), Fp8((128, 128), "F32"), (Blob(1, 80, 16384), Blob(0, 116, 4))),
        SourceTensor("h", (2, 2), F16(), (Blob(1, 16464, 8),)),
    ]


def test_tensors_alike_share_one_form_and_one_shape():
    alike = ("F8_E4M3", (128, 128)), ("F32", (1, 1))
    tensors = of(a__weight=alike[0], a__weight_scale_inv=alike[1], b__weight=alike[0], b__weight_scale_inv=alike[1])
    a, b = tensors.values()
    assert a.encoding is b.encoding
    assert a.shape is b.shape


def test_a_dtype_that_holds_no_weights_matters_only_if_the_tensor_is_needed():
    found = made([TensorHeader("q.weight", "I16", (2, 2), 0, 8)])["q.weight"]
    assert (found.shape, found.nbytes) == ((2, 2), 8)
    with pytest.raises(CheckpointError) as error:
        found.encoding.ranges(2, 0, 2)
    assert str(error.value) == (
        "tensor q.weight: dtype I16, expected one of BF16, F16, F32, F8_E4M3, F8_E5M2, I8; "
        "convert the model that it was made from instead"
    )
