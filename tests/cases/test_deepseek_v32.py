"""DeepSeek-V3.2: what its config.json leaves out, what the file then says, and what the plan warns of."""

import json

import pytest

import deepgguf
from deepgguf.errors import CheckpointError, UsageError
from tiny_checkpoint import TOKENIZERS, V3, YARN, stored, weights, without, write_checkpoint

V32 = V3 | {
    "architectures": ["DeepseekV32ForCausalLM"],
    "index_n_heads": 2,
    "index_head_dim": 64,
    "index_topk": 16,
    "num_nextn_predict_layers": 0,
}
LEFT_OUT = (
    "rms_norm_eps", "rope_theta", "scoring_func", "norm_topk_prob", "routed_scaling_factor", "topk_method", "n_group",
    "topk_group", "first_k_dense_replace", "index_n_heads", "index_head_dim", "index_topk",
)  # fmt: skip


def planned(folder, config, tensors=None, **files):
    source = write_checkpoint(folder / "v32", config, tensors or weights(config), files=files or None)
    return deepgguf.plan(source, target="llama.cpp")


def keys(plan):
    return {name.removeprefix("deepseek32."): value.value for name, value in plan.files[0].keys.items()}


def test_what_a_v32_config_leaves_out_has_v32s_defaults(tmp_path):
    config = without(V32, *LEFT_OUT) | {"n_routed_experts": 8, "num_hidden_layers": 4}
    found = keys(planned(tmp_path, config))
    assert found["leading_dense_block_count"] == 3
    assert found["expert_weights_scale"] == 2.5
    assert found["expert_weights_norm"] is True
    assert (found["expert_group_count"], found["expert_group_used_count"]) == (8, 4)
    indexer = [found[f"attention.indexer.{name}"] for name in ("head_count", "key_length", "top_k")]
    assert indexer == [64, 128, 2048]


def test_a_scoring_function_that_transformers_does_not_name_is_the_sigmoid(tmp_path):
    assert "scoring_func" not in V32
    assert keys(planned(tmp_path, V32))["expert_gating_func"] == 2


@pytest.mark.parametrize("name", ["DeepseekV32ForCausalLM", "DeepseekV32Model"])
def test_the_class_decides_with_its_head_or_without(tmp_path, name):
    assert planned(tmp_path, V32 | {"architectures": [name]}).architecture == "deepseek32"


def test_the_model_type_decides_where_no_class_is_named(tmp_path):
    config = without(V32, "architectures") | {"model_type": "deepseek_v32"}
    assert planned(tmp_path, config, weights(V32)).architecture == "deepseek32"


def test_a_checkpoint_of_v32_is_not_taken_for_one_of_v3(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"model\.layers\.0\.self_attn\.indexer\.\S+: belongs to the indexer of DeepSeek-V3.2"
    ):
        planned(tmp_path, V3, weights(V32))


def test_a_checkpoint_of_v3_is_not_taken_for_one_of_v32(tmp_path):
    with pytest.raises(CheckpointError, match=r"indexer\.wq_b\.weight: config\.json promises it"):
        planned(tmp_path, V32, weights(V3))


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_what_weighs_the_indexers_heads_and_its_norm_are_f32_whatever_they_were(tmp_path, dtype):
    made = weights(V32)
    for name, tensor in made.items():
        if "k_norm" in name or "weights_proj" in name:
            made[name] = stored(
                [[0.5] * tensor.shape[-1]] * tensor.shape[0] if len(tensor.shape) > 1 else [0.5] * 64, dtype
            )
    types = {t.info.name: t.info.type.name for t in planned(tmp_path, V32, made).files[0].tensors}
    assert [types[f"blk.1.indexer.{name}"] for name in ("proj.weight", "k_norm.weight", "k_norm.bias")] == ["F32"] * 3
    assert types["blk.1.indexer.attn_k.weight"] == "BF16"


@pytest.mark.parametrize(("key", "value"), [("q_lora_rank", None), ("use_mla", False)])
def test_a_model_without_compressed_queries_has_nothing_for_an_indexer(tmp_path, key, value):
    with pytest.raises(CheckpointError, match=rf"^config\.json: {key} is {value}, but the indexer works on"):
        planned(tmp_path, V32 | {key: value}, weights(V32))


def test_mtp_layers_stay_in_the_file_as_in_that_of_the_reference_converter(tmp_path):
    found = keys(planned(tmp_path, V32 | {"num_nextn_predict_layers": 1}))
    assert (found["block_count"], found["nextn_predict_layers"]) == (3, 1)


def test_a_file_of_mtp_layers_alone_is_of_no_use_to_ollama(tmp_path):
    source = write_checkpoint(tmp_path / "v32", V32, weights(V32))
    with pytest.raises(UsageError, match=r"`mtp`: 'only' is not possible for ollama: .*`target=\"llama.cpp\"`"):
        deepgguf.plan(source, mtp="only")


def test_a_complete_checkpoint_is_warned_of_nothing(tmp_path):
    assert planned(tmp_path, V32 | {"rope_scaling": YARN}).warnings == ()


def test_betas_that_the_engine_does_not_read_are_warned_of(tmp_path):
    (warning,) = planned(tmp_path, V32 | {"rope_scaling": YARN | {"beta_fast": 2}}).warnings
    assert warning.startswith("YaRN's betas are 2 and 1, but the engines")


def test_a_layer_with_other_attention_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"layer_types\[1\]: Invalid enum value 'full_attention'"):
        planned(tmp_path, V32 | {"layer_types": ["indexed_attention", "full_attention"]})


def test_an_indexer_that_the_engine_cannot_rotate_is_warned_of(tmp_path):
    (warning,) = planned(tmp_path, V32 | {"index_head_dim": 48}).warnings
    assert warning == "index_head_dim is 48: llama.cpp runs this model only with a multiple of 64"


def tokenizer_config() -> dict:
    return json.loads((TOKENIZERS / "sample-v3" / "tokenizer_config.json").read_text())


def test_a_tokenizer_that_adds_no_bos_is_written_as_it_is_and_warned_of(tmp_path):
    plan = planned(tmp_path, V32, **{"tokenizer_config.json": tokenizer_config() | {"add_bos_token": False}})
    assert plan.files[0].keys["tokenizer.ggml.add_bos_token"].value is False
    (warning,) = plan.warnings
    assert warning.startswith("tokenizer_config.json has add_bos_token false, and the file says so too")


def test_a_missing_chat_template_is_warned_of(tmp_path):
    (warning,) = planned(
        tmp_path, V32, **{"tokenizer_config.json": without(tokenizer_config(), "chat_template")}
    ).warnings
    assert warning.startswith("the file has no chat template")
