"""Rows 24 to 28: a damaged or contradictory config.json."""

from pathlib import Path

import pytest
from checkpoints import checkpoint, converted, edit_json, planned, put, refused

from deepgguf.models import known_families


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint("v3", tmp_path / "v3")


def with_config(folder: Path, **fields: object) -> Path:
    """The checkpoint with these fields in config.json; None removes one."""

    def edit(config: dict) -> None:
        config.update(fields)
        for key in [key for key, value in config.items() if value is None]:
            del config[key]

    edit_json(folder / "config.json", edit)
    return folder


NUMBERS = ["hidden_size", "num_hidden_layers", "num_attention_heads", "n_routed_experts", "kv_lora_rank", "vocab_size"]


@pytest.mark.parametrize("key", NUMBERS)
def test_row_24_a_missing_field_is_refused(folder, key):
    line = refused(with_config(folder, **{key: None}))
    assert line.startswith("config.json: Object missing required field `")
    assert key in line


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [0, -256])
def test_row_24_a_size_of_zero_or_less_is_refused(folder, key, value):
    assert refused(with_config(folder, **{key: value})).startswith(f"config.json: {key}: Expected `int` >= 1")


@pytest.mark.parametrize("value", ["256", 256.5, True, [256], {"a": 1}])
def test_row_24_a_size_of_the_wrong_type_is_refused(folder, value):
    assert refused(with_config(folder, hidden_size=value)).startswith("config.json: hidden_size: Expected `int`, got ")


@pytest.mark.parametrize("value", [2**31, 2**63, 10**39])
def test_row_24_a_size_beyond_int32_is_refused(folder, value):
    assert refused(with_config(folder, hidden_size=value)).startswith("config.json: hidden_size: Expected `int` <= ")


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"rope_scaling": "yarn"}, "config.json: rope_scaling is str, expected an object"),
        ({"rope_scaling": {"type": "\x1b[2J"}}, "config.json: rope_scaling.type is '\\x1b[2J', expected 'yarn'"),
        ({"rope_scaling": {"type": "yarn", "factor": 0}}, "config.json: rope_scaling: factor: Expected `float` >= 1.0"),
        ({"quantization_config": []}, "config.json: quantization_config is list, expected an object"),
        ({"rms_norm_eps": -1e-6}, "config.json: rms_norm_eps: Expected `float` > 0"),
        ({"scoring_func": "softmin"}, "config.json: scoring_func is 'softmin', expected 'softmax' or 'sigmoid'"),
        ({"n_group": 4}, "config.json: n_group is 4, expected a divisor of n_routed_experts 6"),
        ({"num_experts_per_tok": 7}, "config.json: num_experts_per_tok is 7, expected at most n_routed_experts 6"),
        ({"moe_layer_freq": 2}, "config.json: moe_layer_freq is 2, expected 1"),
        ({"first_k_dense_replace": 4}, "config.json: first_k_dense_replace is 4, expected at most num_hidden_layers 3"),
    ],
)
def test_row_24_a_field_that_makes_no_sense_is_refused(folder, fields, line):
    assert refused(with_config(folder, **fields)).startswith(line)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"{", b'{"a": 1, "a": 1}', b'{"a": NaN}', b"\xff\xfe", b"[" * 10**6]
)
def test_row_24_a_config_that_is_not_a_json_object_is_refused(folder, text):
    put(folder / "config.json", text)
    assert refused(folder).startswith("config.json: ")


def test_row_24_a_folder_without_a_config_is_refused(folder):
    (folder / "config.json").unlink()
    assert refused(folder).startswith("config.json: no such file; take it from the repository that the model is from")


def test_row_25_a_billion_layers_are_refused_at_the_first_missing_tensor(folder):
    line = refused(with_config(folder, num_hidden_layers=10**9))
    assert line.startswith("tensor model.layers.3.post_attention_layernorm.weight") or "model.layers.3." in line


@pytest.mark.parametrize("key", ["n_routed_experts", "n_shared_experts", "num_attention_heads", "vocab_size"])
def test_row_25_a_billion_of_anything_else_is_refused_too(folder, key):
    assert refused(with_config(folder, **{key: 10**9, "n_group": 1})).startswith("tensor ")


@pytest.mark.parametrize("names", [None, [], ["LlamaForCausalLM"], "DeepseekV3ForCausalLM", [["x"]], [{}], ["\x1b[2J"]])
def test_row_26_an_unknown_architecture_is_refused_with_the_known_ones(folder, names):
    line = refused(with_config(folder, architectures=names, model_type="llama"))
    assert line.startswith("config.json: architectures is ")
    assert f"expected one of {', '.join(sorted(known_families()))}; " in line


def test_row_27_code_named_by_auto_map_is_never_run(folder):
    put(folder / "modeling_deepseek.py", b"from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    put(folder / "configuration_deepseek.py", (folder / "modeling_deepseek.py").read_bytes())
    classes = {"AutoConfig": "configuration_deepseek.C", "AutoModel": "modeling_deepseek.M"}
    converted(with_config(folder, auto_map=classes, trust_remote_code=True))
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (
            {"hidden_size": 512},
            "tensor model.embed_tokens.weight: shape [544, 256], expected [544, 512] by config.json",
        ),
        ({"vocab_size": 545}, "tensor model.embed_tokens.weight: shape [544, 256], expected [545, 256] by config.json"),
        ({"kv_lora_rank": 32}, "tensor model.layers.0.self_attn.kv_a_proj_with_mqa.weight: shape [80, 256], expected"),
        ({"qk_nope_head_dim": 16}, "tensor model.layers.0.self_attn.q_b_proj.weight: shape "),
        ({"n_routed_experts": 3}, "tensor model.layers.1.mlp.gate.weight: shape [6, 256], expected [3, 256]"),
        ({"first_k_dense_replace": 2}, "tensor model.layers.1.mlp.gate_proj.weight: config.json promises it"),
        ({"q_lora_rank": 64}, "tensor model.layers.0.self_attn.q_a_proj.weight: shape [128, 256], expected [64, 256]"),
        (
            {"topk_method": "greedy"},
            "tensor model.layers.1.mlp.gate.e_score_correction_bias: belongs to a choice of experts",
        ),
    ],
)
def test_row_28_a_config_that_contradicts_the_shapes_is_refused(folder, fields, found):
    assert refused(with_config(folder, **fields)).startswith(found)


def test_row_28_other_head_sizes_with_the_same_number_of_rows_are_refused(folder):
    fields = {"num_attention_heads": 2, "qk_nope_head_dim": 64, "qk_rope_head_dim": 16, "v_head_dim": 64}
    assert refused(with_config(folder, **fields)).startswith("tensor model.layers.0.self_attn.q_b_proj.weight: shape ")


def test_the_undamaged_checkpoint_is_accepted(folder):
    assert planned(folder)["architecture"] == "deepseek2"


@pytest.mark.parametrize("name", [1, ["a/b"], {"a": "b"}, "a/\x1b[2J", "a/\u202e", "x" * 1_000_000, "../../etc/passwd"])
def test_row_24_an_unusable_model_name_is_not_written(folder, name):
    keys = planned(with_config(folder, _name_or_path=name), "--target", "llama.cpp")["files"][0]["keys"]
    assert (keys["general.name"], "general.organization" in keys) == ("v3", False)
