"""With the source: every planted fault is found, and named by tensor, expert, row and values."""

import shutil

import numpy as np
import pytest

from deepgguf import compare, kernels
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import GGMLType, row_bytes
from planting import (
    change_source,
    change_tensor,
    convert,
    decode,
    differences,
    exchange_experts,
    flip_bit,
    rewrite,
    the_difference,
    with_tensors,
    with_value,
)
from tiny_checkpoint import OCR, V2, weights, without, write_checkpoint

KINDS = ["v3", "v3-fp8", "v3-tied", "v2-lite", "ocr"]
TARGETS = ["ollama", "llama.cpp"]
UP = "blk.1.ffn_up_exps.weight"  # [6, 256, 256] in the v3 samples


@pytest.mark.parametrize("type", ["auto", "f16", "f32", "q8_0", "q4_k_m"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_conversion_has_no_difference(sample, converted, kind, target, type):
    report = compare(converted(kind, target, type), sample(kind))
    assert report.differences == ()
    assert report.source.exact + report.source.bounded == report.files[0].tensors


def test_a_sound_mmproj_has_no_difference(sample, tmp_path):
    convert(sample("ocr"), tmp_path / "ocr.gguf", only="mmproj")
    assert compare(tmp_path / "mmproj-ocr.gguf", sample("ocr")).differences == ()


@pytest.mark.parametrize("target", TARGETS)
def test_a_v2_config_without_q_lora_rank_has_no_difference(tmp_path, target):
    config = V2 | {"q_lora_rank": 1536}  # what configuration_deepseek.py gives a config that leaves it out
    source = write_checkpoint(tmp_path / "v2", without(config, "q_lora_rank"), weights(config))
    assert differences(convert(source, tmp_path / "v2.gguf", target), source) == []


@pytest.mark.parametrize("type", ["auto", "f32", "f16", "bf16"])
def test_an_mmproj_with_more_weights_in_f32_than_in_its_own_type_has_no_difference(tmp_path, type):
    source = write_checkpoint(tmp_path / "ocr", OCR, weights(OCR))
    convert(source, tmp_path / "ocr.gguf", type=type, only="mmproj")
    assert differences(tmp_path / "mmproj-ocr.gguf", source) == []


@pytest.mark.parametrize("kind", ["v3", "v3-fp8"])
def test_one_flipped_bit_is_found(sample, converted, kind):
    file = converted(kind)
    flip_bit(file, UP, 2 * (3 * 256 * 256 + 5 * 256 + 17), 0)
    found = the_difference(file, sample(kind))
    assert found.where == f"tensor {UP}, expert 3, row 5, column 17"
    assert found.text == "1 of 65,536 weights differ"
    assert float(found.expected) == pytest.approx(float(found.found), rel=0.01)


@pytest.mark.parametrize("bit", range(32))
def test_any_flipped_bit_of_an_f32_weight_is_found(sample, converted, bit):
    file = converted("v3")
    flip_bit(file, "output_norm.weight", 4 * 100 + bit // 8, bit % 8)
    assert the_difference(file, sample("v3")).where == "tensor output_norm.weight, row 0, column 100"


@pytest.mark.parametrize("kind", ["v3", "v3-fp8"])
@pytest.mark.parametrize("type", ["q8_0", "q4_k_m"])
def test_a_flipped_bit_of_a_quantized_weight_is_found(sample, converted, kind, type):
    file = converted(kind, type=type)
    flip_bit(file, UP, 2 * 65536 // 256 * (272 if type == "q8_0" else 144) + 20, 7)
    found = the_difference(file, sample(kind))
    assert found.where.startswith(f"tensor {UP}, expert 2, row 0, column ")
    assert " ± " in found.expected


@pytest.mark.parametrize("kind", ["v3", "v3-fp8"])
@pytest.mark.parametrize("type", ["auto", "q8_0", "q4_k_m"])
def test_two_exchanged_experts_are_found(sample, converted, kind, type):
    file = converted(kind, type=type)
    exchange_experts(file, UP, 1, 4)
    found = differences(file, sample(kind))
    assert [f.where.split(", row")[0] for f in found] == [f"tensor {UP}, expert 1", f"tensor {UP}, expert 4"]


def turned_over(data, info):
    """k_b [heads, rank, nope] as the source has it, [heads, nope, rank], in the same bytes."""
    heads, rank, nope = info.shape
    values = decode(info.type, data.reshape(heads * rank, -1), nope).reshape(info.shape)
    wrong = np.ascontiguousarray(values.transpose(0, 2, 1)).ravel()
    if info.type is GGMLType.BF16:
        return (wrong.view(np.uint32) >> 16).astype(np.uint16)
    out = np.empty_like(data)
    kernels.quantize(wrong, nope, info.type, None, out, row_bytes(info.type, nope))
    return out


@pytest.mark.parametrize("kind", ["v3", "v3-fp8", "v2-lite"])
@pytest.mark.parametrize("type", ["auto", "q8_0"])
def test_a_transposed_k_b_is_found(sample, converted, kind, type):
    file = converted(kind, type=type)
    change_tensor(file, "blk.1.attn_k_b.weight", turned_over)
    found = the_difference(file, sample(kind))
    assert found.where.startswith("tensor blk.1.attn_k_b.weight, head 0, row 0, column ")


def test_exchanged_heads_of_v_b_are_found(sample, converted):
    file = converted("v3")
    exchange_experts(file, "blk.0.attn_v_b.weight", 2, 3)
    found = the_difference(file, sample("v3"))
    assert found.where.startswith("tensor blk.0.attn_v_b.weight, head 2, row 0, column ")


@pytest.mark.parametrize("type", ["auto", "f32", "q8_0", "q4_k_m"])
def test_a_scale_of_the_wrong_block_is_found(sample, tmp_path, type):
    wrong = shutil.copytree(sample("v3-fp8"), tmp_path / "v3-fp8")
    weight, scales = "model.layers.1.mlp.experts.2.up_proj.weight", 1  # a blob of 2 × 2
    change_source(wrong, weight, scales, lambda data: data.view(np.float32)[[0, 1, 3, 2]].view(np.uint8))
    file = convert(wrong, tmp_path / "wrong.gguf", type=type)
    found = the_difference(file, sample("v3-fp8"))
    assert found.where.startswith(f"tensor {UP}, expert 2, row 128, column ")


@pytest.mark.parametrize("kind", ["v3", "v3-fp8"])
@pytest.mark.parametrize("type", ["auto", "q4_k_m"])
def test_mtp_layers_that_were_not_dropped_are_found(sample, converted, kind, type):
    file = converted(kind, type=type)
    rewrite(
        file,
        keys=with_value("deepseek2.block_count", 4),
        tensors=with_tensors(["blk.3.attn_norm.weight", "blk.3.ffn_norm.weight"], GGMLType.F32, (256,)),
    )
    found = differences(file, sample(kind))
    assert [f.where for f in found] == [
        "key deepseek2.block_count",
        "tensor blk.3.attn_norm.weight",
        "tensor blk.3.ffn_norm.weight",
    ]
    assert (found[0].expected, found[0].found) == ("3", "4")
    assert found[1].text == "is extra: nothing in the source becomes a tensor of this name"


def test_an_output_beside_tied_embeddings_is_found(sample, converted):
    file = converted("v3-tied")
    rewrite(file, tensors=with_tensors(["output.weight"], GGMLType.BF16, (544, 256)))
    assert "is extra" in the_difference(file, sample("v3-tied")).text


@pytest.mark.parametrize("name", ["blk.2.ffn_norm.weight", "blk.1.attn_v_b.weight", "output.weight"])
def test_a_missing_tensor_is_found(sample, converted, name):
    file = converted("v3")
    rewrite(file, tensors=lambda tensors: {k: v for k, v in tensors.items() if k != name})
    found = the_difference(file, sample("v3"))
    sources = {
        "blk.2.ffn_norm.weight": "model.layers.2.post_attention_layernorm.weight",
        "blk.1.attn_v_b.weight": "model.layers.1.self_attn.kv_b_proj.weight",
        "output.weight": "lm_head.weight",
    }
    assert found.where == f"tensor {name}"
    assert found.text == f"is missing: it would be made of {sources[name]}"


def test_a_stack_without_its_last_expert_is_found(sample, converted):
    file = converted("v3")

    def shorter(tensors):
        type, (experts, *shape), data = tensors[UP]
        return tensors | {UP: (type, (experts - 1, *shape), data[: len(data) // experts * (experts - 1)])}

    rewrite(file, tensors=shorter)
    found = the_difference(file, sample("v3"))
    assert (found.where, found.expected, found.found) == (f"tensor {UP}", "[6, 256, 256]", "[5, 256, 256]")


def test_exchanged_tensors_of_one_shape_are_found(sample, converted):
    file = converted("v3")
    one, other = "blk.1.ffn_up_shexp.weight", "blk.1.ffn_gate_shexp.weight"
    rewrite(file, tensors=lambda tensors: tensors | {one: tensors[other], other: tensors[one]})
    assert sorted(f.where.split(",")[0] for f in differences(file, sample("v3"))) == [
        f"tensor {other}",
        f"tensor {one}",
    ]


def test_a_tensor_that_must_be_f32_and_is_not_is_found(sample, converted):
    file = converted("v3")
    name = "blk.1.ffn_gate_inp.weight"
    rewrite(file, tensors=lambda t: t | {name: (GGMLType.BF16, t[name][1], t[name][2][: len(t[name][2]) // 2])})
    found = the_difference(file, sample("v3"))
    assert (found.where, found.expected, found.found) == (f"tensor {name}", "F32", "BF16")


def test_a_block_of_zeros_is_found(sample, converted):
    file = converted("v3", type="q4_k_m")
    change_tensor(file, "blk.1.ffn_gate_exps.weight", lambda data, info: np.zeros_like(data))
    assert len(differences(file, sample("v3"))) == 6


def test_another_model_is_not_a_source(sample, converted):
    found = the_difference(converted("v3"), sample("ocr"))
    assert found.where == "key general.architecture"


def test_a_source_that_does_not_exist_is_refused(converted, tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        compare(converted("v3"), tmp_path / "nothing")


def test_several_threads_find_the_same(sample, converted):
    file = converted("v3-fp8", type="q4_k_m")
    exchange_experts(file, UP, 0, 5)
    one, four = (compare(file, sample("v3-fp8"), jobs=jobs).differences for jobs in (1, 4))
    assert one == four
