"""How deepgguf's files for Ollama differ from those of Ollama's own converter (docs/differences.md), one by one."""

import pytest

from deepgguf import convert, plan
from deepgguf.formats.gguf.decode import read_header
from tiny_checkpoint import OCR, V2, V3, Stored, weights, without, write_checkpoint


def keys(folder, target="ollama"):
    return {name: value.value for name, value in plan(folder, target=target).files[0].keys.items()}


@pytest.mark.parametrize("config", [V3, V2], ids=["v3", "v2"])
def test_correction_1_expert_groups_are_written(tmp_path, config):
    grouped = config | {"n_routed_experts": 12, "n_group": 4, "topk_group": 3}
    found = keys(write_checkpoint(tmp_path / "x", grouped, weights(grouped)))
    assert found["deepseek2.expert_group_count"] == 4
    assert found["deepseek2.expert_group_used_count"] == 3


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"topk_method": "group_limited_greedy", "n_group": 2}, True),
        ({"topk_method": "group_limited_greedy", "n_group": 1}, False),
        ({"topk_method": "greedy", "n_group": 2}, False),
    ],
)
def test_correction_1_warns_where_the_model_ranks_groups_as_no_engine_does(tmp_path, target, changes, warned):
    config = V2 | changes
    warnings = plan(write_checkpoint(tmp_path / "x", config, weights(config)), target=target).warnings
    assert any("group_limited_greedy" in warning for warning in warnings) == warned


def test_correction_2_scales_are_found_in_any_shard(tmp_path):
    config = V3 | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    made = weights(config)
    scales = {name: tensor for name, tensor in made.items() if name.endswith("_scale_inv")}
    together = write_checkpoint(tmp_path / "together" / "x", config, made)
    apart = write_checkpoint(tmp_path / "apart" / "x", config, scales, without(made, *scales))
    for folder in (together, apart):
        convert(folder, folder.parent / "x.gguf", jobs=2)
    assert len(scales) > 10
    assert (tmp_path / "apart" / "x.gguf").read_bytes() == (tmp_path / "together" / "x.gguf").read_bytes()


def test_correction_2_fp8_is_rounded_to_nearest_even(tmp_path):
    """0x3F808000 and 0x3F818000 lie midway between two BF16, the other two nearer to the upper one; truncation differs."""
    config = V3 | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [1, 32]}}
    made = weights(config | {"quantization_config": None})
    name = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"
    scales = bytes.fromhex("0080803f 0080813f ffff803f 0180803f" + "0000803f" * 16)
    made[name] = Stored("F8_E4M3", (20, 32), bytes([0x38]) * 640)
    made[f"{name}_scale_inv"] = Stored("F32", (20, 1), scales)
    convert(write_checkpoint(tmp_path / "x", config, made), tmp_path / "x.gguf", jobs=2)
    header = read_header(tmp_path / "x.gguf")
    tensor = next(t for t in header.tensors if t.name == "blk.0.attn_kv_a_mqa.weight")
    data = (tmp_path / "x.gguf").read_bytes()[header.data_offset + tensor.offset :]
    rows = [int.from_bytes(data[64 * i : 64 * i + 2], "little") for i in range(5)]
    assert [f"{row:04x}" for row in rows] == ["3f80", "3f82", "3f81", "3f81", "3f80"]


def test_correction_3_the_pre_tokenizer_is_recognised_for_deepseekocr_too(tmp_path):
    for tokenizer, name in (("sample-v3", "deepseek-v3"), ("sample-v2", "deepseek-llm")):
        folder = write_checkpoint(tmp_path / tokenizer, OCR, weights(OCR), tokenizer=tokenizer)
        assert keys(folder)["tokenizer.ggml.pre"] == name


def test_correction_4_a_missing_value_is_absent_not_zero(tmp_path):
    config = V2 | {"q_lora_rank": None, "rope_scaling": None, "n_group": None, "topk_group": None}
    found = keys(write_checkpoint(tmp_path / "x", config, weights(config)))
    absent = ("attention.q_lora_rank", "rope.scaling.type", "rope.scaling.factor", "expert_group_count",
              "rope.scaling.original_context_length", "rope.scaling.yarn_log_multiplier", "expert_group_used_count")  # fmt: skip
    assert [key for key in absent if f"deepseek2.{key}" in found] == []


def test_correction_5_deepseekocr_gets_the_keys_that_its_engine_would_have_to_guess(tmp_path):
    config = OCR | {"language_config": OCR["language_config"] | {"rms_norm_eps": 1e-5}}
    found = keys(write_checkpoint(tmp_path / "x", config, weights(config)))
    expected = {
        "attention.layer_norm_rms_epsilon": 1e-5,
        "expert_feed_forward_length": 16,
        "expert_shared_count": 2,
        "vocab_size": 520,
    }
    assert {key: found[f"deepseekocr.{key}"] for key in expected} == expected


@pytest.mark.parametrize("rank", [None, 24])
def test_correction_6_v2_checkpoints_work_with_and_without_a_latent_for_queries(tmp_path, rank):
    config = V2 | {"q_lora_rank": rank}
    folder = write_checkpoint(tmp_path / "x", config, weights(config))
    convert(folder, tmp_path / "x.gguf", jobs=2)
    names = {t.name for t in read_header(tmp_path / "x.gguf").tensors}
    queries = {name.removeprefix("blk.0.attn_").removesuffix(".weight") for name in names if ".0.attn_q" in name}
    assert queries == ({"q"} if rank is None else {"q_a", "q_a_norm", "q_b"})
