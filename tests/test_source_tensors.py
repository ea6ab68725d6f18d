"""Every source tensor is used once or dropped for a reason; experts are complete, alike and in numeric order."""

import numpy as np
import pytest
from gguf import GGUFReader

from deepgguf import convert, plan
from deepgguf.errors import CheckpointError
from tiny_checkpoint import OCR, V3, Stored, stored, weights, without, write_checkpoint

EXPERT = "model.layers.1.mlp.experts.{}.{}_proj.weight"


def summary(folder):
    return {d.reason: (d.tensors, d.scales, d.nbytes) for d in plan(folder).dropped}


def scaled(name: str, shape: tuple[int, int]) -> dict[str, Stored]:
    """An FP8 weight and its one scale."""
    weight = Stored("F8_E4M3", shape, bytes([0x38]) * (shape[0] * shape[1]))
    return {name: weight, f"{name}_scale_inv": stored([[1.0]], "F32")}


FP8 = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}


def test_nothing_is_dropped_from_a_checkpoint_that_holds_what_its_config_promises(tmp_path):
    assert summary(write_checkpoint(tmp_path / "x", V3, weights(V3))) == {}


def test_mtp_layers_are_dropped_and_counted_with_their_scales_and_need_not_be_complete(tmp_path):
    more = scaled("model.layers.2.eh_proj.weight", (8, 16)) | {"model.layers.10.enorm.weight": stored([1.0], "F32")}
    folder = write_checkpoint(tmp_path / "x", V3 | FP8, weights(V3) | more)
    assert summary(folder) == {"multi-token prediction (MTP) layers": (2, 1, 8 * 16 + 4 + 4)}


def test_the_samples_mtp_layer_is_dropped_whole(checkpoint):
    dropped = plan(checkpoint("v3-fp8")).dropped
    assert [(d.reason, d.tensors, d.scales) for d in dropped] == [("multi-token prediction (MTP) layers", 23, 11)]


def test_lm_head_is_dropped_with_its_scales_where_it_is_tied(tmp_path):
    config = V3 | FP8 | {"tie_word_embeddings": True}
    tied = weights(V3) | scaled("lm_head.weight", (520, 32))
    tied["model.embed_tokens.weight"] = stored(np.ones((520, 32)), "BF16")
    folder = write_checkpoint(tmp_path / "x", config, tied)
    assert {t.info.name for t in plan(folder).files[0].tensors}.isdisjoint({"output.weight"})
    assert summary(folder) == {"lm_head, tied to the token embedding": (1, 1, 520 * 32 + 4)}


def test_lm_head_is_used_where_it_is_not_tied(tmp_path):
    folder = write_checkpoint(tmp_path / "x", V3 | {"tie_word_embeddings": False}, weights(V3))
    assert "output.weight" in {t.info.name for t in plan(folder).files[0].tensors}


def test_buffers_that_the_engines_compute_are_dropped_and_counted(tmp_path):
    more = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": stored([1.0, 0.5], "F32"),
        "model.vision_model.embeddings.position_ids": stored([[0, 1, 2]], "I64"),
    }
    folder = write_checkpoint(tmp_path / "x", OCR, weights(OCR) | more)
    assert summary(folder) == {"buffers that the engines compute": (2, 0, 8 + 24)}


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize(
    "name",
    [
        "model.layers.1.self_attn.q_norm.weight",
        "model.layers.0.mlp.experts.0.gate_proj.weight",
        "model.layers.01.input_layernorm.weight",
        "language_model.model.norm.weight",
        "model.norm.weight ",
    ],
)
def test_an_unknown_tensor_is_an_error_that_names_it(tmp_path, target, name):
    folder = write_checkpoint(tmp_path / "x", V3, weights(V3) | {name: stored([1.0], "F32")})
    with pytest.raises(CheckpointError) as error:
        plan(folder, target=target)
    assert error.value.where == f"tensor {name}"
    assert "unknown" in error.value.found


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize("name", ["model.layers.1.mlp.gate.bias", "lm_head.bias"])
def test_a_bias_without_a_place_in_the_engines_is_an_error_that_says_so(tmp_path, target, name):
    folder = write_checkpoint(tmp_path / "x", V3, weights(V3) | {name: stored([1.0], "F32")})
    with pytest.raises(CheckpointError) as error:
        plan(folder, target=target)
    assert error.value.where == f"tensor {name}"
    assert error.value.found == "is a bias, and the engines' language model has no tensor for it"


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.self_attn.kv_b_proj.weight", "lm_head.weight"])
def test_a_missing_tensor_is_an_error_that_names_it(tmp_path, name):
    folder = write_checkpoint(tmp_path / "x", V3, without(weights(V3), name))
    with pytest.raises(CheckpointError) as error:
        plan(folder)
    assert error.value.where == f"tensor {name}"
    assert "no shard holds it" in error.value.found


def test_a_tensor_of_another_shape_than_the_config_promises_is_an_error(tmp_path):
    made = weights(V3)
    made["model.layers.0.self_attn.o_proj.weight"] = stored(np.zeros((16, 32)), "BF16")
    with pytest.raises(CheckpointError, match=r"o_proj.weight: shape \[16, 32\], expected \[32, 16\]"):
        plan(write_checkpoint(tmp_path / "x", V3, made))


def test_a_missing_expert_is_an_error(tmp_path):
    folder = write_checkpoint(tmp_path / "x", V3, without(weights(V3), EXPERT.format(2, "up")))
    with pytest.raises(CheckpointError, match=r"experts.2.up_proj.weight: config.json promises it"):
        plan(folder)


def test_an_extra_expert_is_an_error(tmp_path):
    made = weights(V3)
    made[EXPERT.format(4, "up")] = made[EXPERT.format(3, "up")]
    with pytest.raises(CheckpointError, match=r"experts.4.up_proj.weight: is unknown"):
        plan(write_checkpoint(tmp_path / "x", V3, made))


@pytest.mark.parametrize("number", ["03", "+3", "³", "-1"])
def test_an_experts_number_written_in_another_way_is_an_error(tmp_path, number):
    made = weights(V3)
    made[EXPERT.format(number, "up")] = made[EXPERT.format(3, "up")]
    with pytest.raises(CheckpointError, match="is unknown"):
        plan(write_checkpoint(tmp_path / "x", V3, made))


def test_an_expert_in_two_shards_is_an_error(tmp_path):
    made, twice = weights(V3), EXPERT.format(1, "down")
    with pytest.raises(CheckpointError, match=r"experts.1.down_proj.weight: is also in model-00001-of-00002"):
        plan(write_checkpoint(tmp_path / "x", V3, made, {twice: made[twice]}))


def test_experts_of_different_shapes_are_an_error(tmp_path):
    made, odd = weights(V3), EXPERT.format(2, "gate")
    made[odd] = stored(np.zeros((8, 32)), "BF16")
    with pytest.raises(CheckpointError, match=r"experts.2.gate_proj.weight: shape \[8, 32\], expected \[16, 32\]"):
        plan(write_checkpoint(tmp_path / "x", V3, made))


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
def test_ten_comes_after_nine(tmp_path, target):
    """12 experts, each filled with its number, stored in the order of their names; 12 blocks, numbered likewise."""
    config = V3 | {"n_routed_experts": 12, "num_hidden_layers": 12, "n_group": 1}
    made = weights(config)
    for block in range(1, 12):
        for expert in range(12):
            for kind, shape in (("gate", (16, 32)), ("up", (16, 32)), ("down", (32, 16))):
                name = f"model.layers.{block}.mlp.experts.{expert}.{kind}_proj.weight"
                made[name] = stored(np.full(shape, float(expert)), "F32")
    folder = write_checkpoint(tmp_path / "x", config, dict(sorted(made.items())))
    convert(folder, tmp_path / "x.gguf", target=target, type="f32", jobs=2)
    tensors = {t.name: t.data for t in GGUFReader(tmp_path / "x.gguf").tensors}
    for block in range(1, 12):
        for kind in ("gate", "up", "down"):
            stack = tensors[f"blk.{block}.ffn_{kind}_exps.weight"]
            assert [sorted(set(expert.ravel())) for expert in stack] == [[float(i)] for i in range(12)]
    blocks = [int(name.split(".")[1]) for name in tensors if name.startswith("blk.")]
    assert blocks == sorted(blocks)
    assert set(blocks) == set(range(12))
