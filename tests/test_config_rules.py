"""What config.json says, leaves out or sets to null, and the keys that follow."""

import re

import numpy as np
import pytest

from deepgguf import plan
from deepgguf.errors import CheckpointError
from deepgguf.models import known_families
from tiny_checkpoint import OCR, V2, V3, YARN, weights, without, write_checkpoint

TARGETS = ("ollama", "llama.cpp")


@pytest.fixture
def keys(tmp_path):
    """`keys(config, target)`: the planned keys without their architecture's prefix, for a checkpoint that fits it."""
    numbers = iter(range(100))

    def make(config, target="ollama", tensors=None):
        folder = write_checkpoint(tmp_path / str(next(numbers)) / "tiny", config, tensors or weights(config))
        planned = plan(folder, target=target).files[0].keys
        return {name.removeprefix("deepseek2."): value.value for name, value in planned.items()}

    return make


LEFT_OUT = (
    "rms_norm_eps", "rope_theta", "tie_word_embeddings", "moe_layer_freq", "scoring_func", "norm_topk_prob",
    "routed_scaling_factor", "topk_method", "n_group", "topk_group",
)  # fmt: skip


def test_what_a_v3_config_leaves_out_has_v3s_defaults(keys):
    full = V3 | {"n_routed_experts": 8}
    found = keys(without(full, *LEFT_OUT), tensors=weights(full))
    assert found["attention.layer_norm_rms_epsilon"] == 1e-6
    assert found["rope.freq_base"] == 10000
    assert found["expert_gating_func"] == 2
    assert found["expert_weights_norm"] is True
    assert found["expert_weights_scale"] == 2.5
    assert (found["expert_group_count"], found["expert_group_used_count"]) == (8, 4)


def test_what_a_v2_config_leaves_out_has_v2s_defaults(keys):
    found = keys(without(V2, *LEFT_OUT), tensors=weights(V2))
    assert found["attention.layer_norm_rms_epsilon"] == 1e-6
    assert found["rope.freq_base"] == 10000
    assert found["expert_gating_func"] == 1
    assert found["expert_weights_norm"] is False
    assert found["expert_weights_scale"] == 1
    assert "expert_group_count" not in found
    assert "expert_group_used_count" not in found


def test_by_default_v3_has_an_output_matrix_and_a_routing_bias_and_v2_no_bias(tmp_path):
    for name, config in (("v3", V3 | {"n_routed_experts": 8}), ("v2", V2)):
        folder = write_checkpoint(tmp_path / name, without(config, *LEFT_OUT), weights(config))
        tensors = {t.info.name for t in plan(folder).files[0].tensors}
        assert "output.weight" in tensors
        assert ("blk.1.exp_probs_b.bias" in tensors) == (name == "v3")


@pytest.mark.parametrize("config", [V3 | {"q_lora_rank": 1536}, V2 | {"q_lora_rank": 1536}], ids=["v3", "v2"])
def test_a_latent_for_queries_that_is_left_out_has_a_rank_of_1536(keys, config):
    assert keys(without(config, "q_lora_rank"), tensors=weights(config))["attention.q_lora_rank"] == 1536


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
        ("rope_theta", "rope.freq_base"),
        ("scoring_func", "expert_gating_func"),
        ("norm_topk_prob", "expert_weights_norm"),
        ("routed_scaling_factor", "expert_weights_scale"),
        ("n_group", "expert_group_count"),
        ("topk_group", "expert_group_used_count"),
        ("q_lora_rank", "attention.q_lora_rank"),
    ],
)
def test_an_explicit_null_writes_no_key(keys, target, field, key):
    assert key in keys(V3, target)
    assert key not in keys(V3 | {field: None}, target)


def test_an_explicit_null_ties_nothing(tmp_path):
    config = V3 | {"tie_word_embeddings": None}
    folder = write_checkpoint(tmp_path / "x", config, weights(V3))
    assert "output.weight" in {t.info.name for t in plan(folder).files[0].tensors}


def test_llamacpp_has_expert_weights_norm_only_when_it_is_true(keys):
    assert keys(V3 | {"norm_topk_prob": True}, "llama.cpp")["expert_weights_norm"] is True
    assert "expert_weights_norm" not in keys(V3 | {"norm_topk_prob": False}, "llama.cpp")
    assert keys(V3 | {"norm_topk_prob": False}, "ollama")["expert_weights_norm"] is False


@pytest.mark.parametrize("target", TARGETS)
def test_rope_parameters_mean_the_same_as_rope_scaling_and_rope_theta(keys, target):
    older = V3 | {"rope_scaling": YARN, "rope_theta": 50000}
    newer = V3 | {"rope_parameters": without(YARN, "type") | {"rope_type": "yarn", "rope_theta": 50000}}
    found = keys(newer, target)
    assert found == keys(older, target)
    assert found["rope.freq_base"] == 50000
    assert found["rope.scaling.type"] == "yarn"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "rope",
    [
        {},
        {"rope_scaling": None},
        {"rope_parameters": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000}},
    ],
    ids=str,
)
def test_without_rope_scaling_there_is_no_key_of_it(keys, target, rope):
    found = keys(V3 | rope, target)
    assert [key for key in found if "scaling" in key] == []
    assert found["rope.freq_base"] == 10000


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("yarn", [without(YARN, "mscale_all_dim"), YARN | {"mscale_all_dim": None}])
def test_without_mscale_all_dim_the_multiplier_takes_back_what_the_engine_adds_to_the_scores(keys, target, yarn):
    found = keys(V3 | {"rope_scaling": yarn}, target)
    added = 1 + 0.1 * np.log(40)
    assert found["rope.scaling.factor"] == 40
    assert found["rope.scaling.attn_factor"] == pytest.approx(added)
    assert found["rope.scaling.yarn_log_multiplier"] == pytest.approx((1 / added - 1) / np.log(40))


def test_the_multiplier_is_made_in_double_and_rounded_once(keys):
    config = V3 | {"rope_scaling": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}}
    found = np.float32(keys(config)["rope.scaling.yarn_log_multiplier"])
    assert found == np.float32(0.1 * 0.707)
    assert found != np.float32(0.1) * np.float32(0.707)


def test_yarns_betas_are_written_for_llamacpp_only(keys):
    config = V3 | {"rope_scaling": YARN | {"beta_fast": 16, "beta_slow": 2}}
    found = keys(config, "llama.cpp")
    assert (found["rope.scaling.yarn_beta_fast"], found["rope.scaling.yarn_beta_slow"]) == (16, 2)
    assert not [key for key in keys(config, "ollama") if "beta" in key]


def test_mla_is_attention_with_one_head_of_keys_for_llamacpp(keys):
    found = keys(V3, "llama.cpp")
    assert found["attention.head_count_kv"] == 1
    assert (found["attention.key_length"], found["attention.value_length"]) == (16 + 4, 16)
    assert (found["attention.key_length_mla"], found["attention.value_length_mla"]) == (8 + 4, 8)
    assert found["rope.dimension_count"] == 4


def test_an_unknown_architecture_is_named_with_the_known_ones(keys):
    with pytest.raises(CheckpointError, match=r"LlamaForCausalLM.*DeepseekV3ForCausalLM"):
        keys(V3 | {"architectures": ["LlamaForCausalLM"]}, tensors=weights(V3))


@pytest.mark.parametrize("name", ["DeepseekV41ForCausalLM", "DeepSeekNewForCausalLM"])
def test_a_deepseek_model_that_is_not_known_yet_is_not_taken_for_another_family(keys, name):
    with pytest.raises(CheckpointError) as caught:
        keys(V3 | {"architectures": [name]}, tensors=weights(V3))
    listed = ", ".join(sorted(known_families()))
    assert caught.value.found == f"architectures is ['{name}'], expected one of {listed}"
    assert re.match(
        r"DeepSeek-V4\.1 is not|DeepSeek-V3\.2 is not|this version of deepgguf does not", caught.value.advice
    )


def test_a_model_of_another_family_is_told_so(keys):
    with pytest.raises(CheckpointError, match="this model belongs to another family, and deepgguf converts DeepSeek"):
        keys(V3 | {"architectures": ["MistralForCausalLM"]}, tensors=weights(V3))


def test_deepseekocr_has_a_rope_dimension_count_of_zero_for_llamacpp(tmp_path):
    folder = write_checkpoint(tmp_path / "ocr", OCR, weights(OCR))
    assert plan(folder, target="llama.cpp").files[0].keys["deepseek2-ocr.rope.dimension_count"].value == 0
    assert "deepseekocr.rope.dimension_count" not in plan(folder, target="ollama").files[0].keys


def test_the_pictures_mean_and_deviation_are_the_processors_or_one_half(tmp_path):
    processor = {"image_mean": [0.25, 0.5, 0.75], "image_std": [1, 2, 4]}
    for file in ("processor_config.json", "preprocessor_config.json", None):
        folder = write_checkpoint(tmp_path / f"{file}", OCR, weights(OCR), files={file: processor} if file else None)
        keys = plan(folder, target="llama.cpp").files[1].keys
        found = [list(keys[f"clip.vision.{name}"].value) for name in ("image_mean", "image_std")]
        assert found == ([[0.25, 0.5, 0.75], [1, 2, 4]] if file else [[0.5] * 3, [0.5] * 3])
