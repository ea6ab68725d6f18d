"""F13, F15, F17, F21: fields that change what a model computes, in the engine, against the definitions in NumPy."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from deepseek_reference import log_probabilities as reference
from respelled import Tensors, respelled, with_config

from deepgguf import CheckpointError, VerificationError, convert, plan, verify
from deepgguf.files.local import LocalFiles
from deepgguf.planning.pieces import runs
from deepgguf.planning.windows import windows
from engine import TOKENS, distance
from engine import log_probabilities as computed
from tiny_checkpoint import OCR, V2, V3, YARN, Stored, floats, stored, weights, without, write_checkpoint

TARGETS = ("ollama", "llama.cpp")

# The engine computes BF16 matrices from activations in BF16, the reference in float32: 0.005 to 0.01.
BOUND = 0.02
# A model that is computed otherwise is further off.
VISIBLE = 0.05

PLAIN_YARN = without(YARN, "mscale", "mscale_all_dim")
HALF = YARN | {"mscale": 1.0, "mscale_all_dim": 0.5}
ROPES = {
    "linear": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    "linear with mscale_all_dim": {"rope_scaling": {"type": "linear", "factor": 4.0, "mscale_all_dim": 1.0}},
    "linear as transformers 5 saves it": {
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "linear", "factor": 8, "rope_theta": 1e4},
    },
    "yarn without original_max_position_embeddings": {"rope_scaling": {"type": "yarn", "factor": 4.0}},
    "yarn without mscale_all_dim": {"rope_scaling": PLAIN_YARN},
    "yarn with mscale only": {"rope_scaling": PLAIN_YARN | {"mscale": 0.707}},
    "yarn with mscale_all_dim only": {"rope_scaling": PLAIN_YARN | {"mscale_all_dim": 1.0}},
    "mscale is not mscale_all_dim": {"rope_scaling": HALF},
    "attention_factor": {"rope_scaling": PLAIN_YARN | {"attention_factor": 1.2}},
    "attention_factor 1": {"rope_scaling": PLAIN_YARN | {"attention_factor": 1.0}},
    "attention_factor beside mscale_all_dim": {"rope_scaling": YARN | {"attention_factor": 1.3}},
    "no scaling": {"rope_scaling": None},
    "another theta": {"rope_parameters": YARN | {"rope_theta": 500000.0}, "rope_scaling": None},
    "halves": {"rope_interleave": False},
    "halves, linear": {"rope_interleave": False, "rope_scaling": {"type": "linear", "factor": 4.0}},
}


@pytest.fixture(scope="module")
def loud(checkpoint, tmp_path_factory) -> Path:
    """The sample v3, with queries four times as large, so that positions count, and no choice among experts."""
    folder = respelled(checkpoint("v3-bf16"), tmp_path_factory.mktemp("loud"), louder)
    return with_config(folder, lambda config: config | {"num_experts_per_tok": 6, "topk_group": 3})


def louder(tensors: Tensors) -> Tensors:
    return {name: times(tensor, 4) if ".q_b_proj." in name else tensor for name, tensor in tensors.items()}


def times(tensor: Stored, factor: float) -> Stored:
    return stored(floats(tensor) * np.float32(factor), "BF16")


def changed(source: Path, parent: Path, **fields: object) -> Path:
    """A copy of `source` with other fields in config.json."""
    return with_config(respelled(source, parent, dict), lambda config: config | fields)


def in_engine(source: Path, target: str) -> np.ndarray:
    file = source.with_name(f"{target}.gguf")
    convert(source, file, target=target)
    verify(file, source)
    return computed(file)


@pytest.mark.parametrize("target", TARGETS)
def test_the_reference_computes_what_the_engine_does_where_nothing_is_unusual(loud, target):
    assert distance(in_engine(loud, target), reference(loud, TOKENS)) < BOUND


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ROPES)
def test_f15_rotary_positions_are_computed_as_transformers_does(loud, tmp_path, name, target):
    source = changed(loud, tmp_path, **ROPES[name])
    expected = reference(source, TOKENS)
    assert distance(expected, reference(loud, TOKENS)) > VISIBLE
    assert distance(in_engine(source, target), expected) < BOUND


@pytest.mark.parametrize("target", TARGETS)
def test_f15_deepseek_yarn_is_yarn(loud, tmp_path, target):
    source = changed(loud, tmp_path, rope_scaling=YARN | {"rope_type": "deepseek_yarn"})
    assert plan(source, target=target).files[0].keys == plan(loud, target=target).files[0].keys


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("sample", ["v3-bf16", "v3-fp8"])
@pytest.mark.parametrize("type", ["auto", "q4_k_m"])
def test_f15_rows_that_rotate_together_become_neighbours_in_every_form(checkpoint, tmp_path, sample, type, target):
    source = changed(checkpoint(sample), tmp_path, rope_interleave=False)
    file = convert(source, tmp_path / "x.gguf", target=target, type=type).files[0].path
    assert verify(file, source).source
    assert (
        file.read_bytes()
        != convert(checkpoint(sample), tmp_path / "y.gguf", target=target, type=type).files[0].path.read_bytes()
    )


@pytest.mark.parametrize("size", [512, 77_777])
@pytest.mark.parametrize("sample", ["v3-bf16", "v3-fp8"])
def test_f15_rows_become_neighbours_in_pieces_of_any_size(checkpoint, tmp_path, sample, size):
    source = changed(checkpoint(sample), tmp_path, rope_interleave=False)
    default = plan(source, tmp_path / "default.gguf").run().files[0].path
    other = msgspec.structs.replace(plan(source, tmp_path / "other.gguf"), piece_weights=size).run().files[0].path
    assert other.read_bytes() == default.read_bytes()


def test_f15_a_window_holds_every_row_that_its_pieces_take(checkpoint, tmp_path):
    source = changed(checkpoint("v3-bf16"), tmp_path, rope_interleave=False)
    cut_small = msgspec.structs.replace(plan(source), piece_weights=512)
    found = False
    for window in windows(cut_small, lambda file, number: number % 3 != 0):
        for share in window.shares:
            (whole,), view = share.ranges(), share.output.view
            for first, rows in (run for piece in share.pieces for run in runs(view, piece)):
                (span,) = share.source.ranges(view.cols, first, rows)
                assert whole.start <= span.start < span.stop <= whole.stop
            found |= view.woven > 0
    assert found


@pytest.mark.parametrize("name", ["linear", "yarn without mscale_all_dim", "mscale is not mscale_all_dim"])
def test_f15_v2_too(checkpoint, tmp_path, name):
    source = changed(checkpoint("v2-lite"), tmp_path, num_experts_per_tok=3, **ROPES[name])
    assert distance(in_engine(source, "llama.cpp"), reference(source, TOKENS)) < BOUND


def test_f15_deepseek_ocr_has_one_theta_and_no_scaling(tmp_path):
    for fields in ({"rope_theta": 50000.0}, {"rope_scaling": YARN}):
        config = OCR | {"language_config": OCR["language_config"] | fields}
        with pytest.raises(CheckpointError, match="expected 10000 without scaling; the engines rotate DeepSeek-OCR"):
            plan(write_checkpoint(tmp_path / next(iter(fields)), config, weights(OCR)))


def test_f15_groups_that_greedy_v2_does_not_use_are_spoken_of(tmp_path):
    (line,) = warnings(tmp_path, V2 | {"n_group": 2, "topk_group": 1})
    assert line == (
        "topk_method is greedy: the model chooses among all experts, but n_group and topk_group make the engines choose "
        "groups of them first; set both to 1"
    )


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {"rope_scaling": {"type": "dynamic", "factor": 4.0}},
            "config.json: rope_scaling.type is 'dynamic', expected 'yarn' or 'deepseek_yarn' or 'linear'; its frequencies "
            "depend on the length of the text, for which GGUF has no key; up to max_position_embeddings it changes "
            "nothing, so set it to null to convert for texts up to that length",
        ),
        (
            {"rope_parameters": {"rope_type": "longrope", "factor": 4.0}},
            "config.json: rope_parameters.type is 'longrope', expected 'yarn' or 'deepseek_yarn' or 'linear'; it has a "
            "factor for every frequency, and the engines' deepseek2 reads none",
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 1.0, "attention_factor": 1.5}},
            "config.json: rope_scaling: attention_factor is 1.5 with factor 1; the engines scale cos and sin only where "
            "factor is more than 1",
        ),
        (
            {"rope_scaling": {"type": "linear"}},
            "config.json: rope_scaling: factor is missing, expected a number of at least 1; add it",
        ),
        (
            {"hidden_act": "gelu"},
            "config.json: hidden_act is 'gelu', expected 'silu'; the engines' deepseek2 computes no other activation",
        ),
        (
            {"n_shared_experts": None},
            "config.json: n_shared_experts is None, expected at least 1; the engines' deepseek2 loads no model without "
            "shared experts",
        ),
        (
            {"mlp_layer_types": ["sparse", "dense"]},
            "config.json: mlp_layer_types is ['sparse', 'dense'], expected a word for each of 2 blocks, the dense ones "
            "first; the engines know no other order",
        ),
        (
            {"moe_layer_freq": [0, 0]},
            "config.json: moe_layer_freq has 2 dense blocks, but first_k_dense_replace is 1; compare with the model's "
            "original config.json",
        ),
    ],
)
def test_f15_f21_what_no_engine_computes_is_refused_with_the_reason(tmp_path, fields, line):
    with pytest.raises(CheckpointError) as error:
        plan(write_checkpoint(tmp_path / "x", V3 | fields, weights(V3)))
    assert str(error.value) == line


@pytest.mark.parametrize("name", ["self_attn.kv_a_proj_with_mqa.bias", "mlp.down_proj.bias"])
def test_f15_a_bias_is_refused_by_its_name(tmp_path, name):
    tensor = f"model.layers.0.{name}"
    source = write_checkpoint(tmp_path / "x", V3, weights(V3) | {tensor: stored([1.0], "BF16")})
    with pytest.raises(CheckpointError) as error:
        plan(source)
    assert str(error.value) == (
        f"tensor {tensor}: is a bias, and the engines' language model has no tensor for it; no engine can run this model"
    )


def test_f15_attention_bias_without_biases_says_nothing(tmp_path):
    assert warnings(tmp_path, V3 | {"attention_bias": True}) == []


def warnings(folder: Path, config: dict, tensors: Tensors | None = None) -> list[str]:
    """Those of a plan, of a checkpoint with `config`, but for the one that all of these small models have."""
    source = write_checkpoint(folder / "x", config, tensors or weights(config))
    return [line for line in plan(source).warnings if "expects no q_lora_rank" not in line]


@pytest.mark.parametrize(
    "fields",
    [
        {"attention_dropout": 0.1, "initializer_range": 0.02, "torch_dtype": "bfloat16", "use_cache": True},
        {"rope_interleave": True, "num_nextn_predict_layers": 1, "_attn_implementation_autoset": True},
        {"logit_softcapping": None, "hidden_act": "swish", "head_dim": 4},
        {"sliding_window": 64, "use_sliding_window": False, "max_window_layers": 2, "unk_token_id": 3},
        {"sliding_window": 4096, "rope_parameters": {}, "rope_scaling": YARN},
        {"rope_scaling": YARN, "rope_parameters": YARN},
    ],
    ids=str,
)
def test_f15_fields_without_effect_are_not_spoken_of(tmp_path, fields):
    assert warnings(tmp_path, V3 | fields) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"logit_softcapping": 30.0, "attn_scale": 2}, "logit_softcapping, attn_scale"),
        ({"rope_scaling": YARN | {"attn_factor": 2.0}}, "rope_scaling.attn_factor"),
        (
            {"rope_scaling": YARN, "rope_parameters": {"rope_theta": 5.0}},
            "rope_parameters, since there is rope_scaling",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ],
)
def test_f15_a_field_that_nobody_reads_is_named(tmp_path, fields, named):
    assert warnings(tmp_path, V3 | fields) == [
        f"config.json has fields that deepgguf does not know and does not read: {named}; if one of them changes what the "
        "model computes, the file computes something else"
    ]


def test_f15_v2_has_no_rope_interleave(tmp_path):
    assert "not read: rope_interleave;" in warnings(tmp_path, V2 | {"rope_interleave": False})[0]


def test_f15_a_sliding_window_is_spoken_of(tmp_path):
    (line,) = warnings(tmp_path, V3 | {"sliding_window": 1024})
    assert line.startswith("sliding_window is 1024, but the engines' deepseek2 has no window")


def test_f15_betas_that_no_engine_reads_are_spoken_of_with_the_way_to_set_them(tmp_path):
    config = V3 | {"qk_rope_head_dim": 64, "rope_scaling": YARN | {"beta_fast": 1}, "rope_theta": 50000.0}
    (line,) = warnings(tmp_path, config)
    assert "between the frequencies 8 and 20, the model between 19 and 20" in line
    assert line.endswith("run llama.cpp with --yarn-beta-fast 1 --yarn-beta-slow 1")


def test_f15_where_transformers_and_deepseek_disagree_the_plan_says_so(tmp_path):
    (line,) = warnings(tmp_path, V3 | {"rope_scaling": PLAIN_YARN | {"mscale_all_dim": 1.0}})
    assert "multiplied by 1.369, not by 1;" in line


def test_f21_rope_parameters_that_are_empty_hide_nothing(tmp_path):
    config = V3 | {"rope_scaling": YARN, "rope_parameters": {}}
    keys = plan(write_checkpoint(tmp_path / "x", config, weights(V3))).files[0].keys
    assert keys["deepseek2.rope.scaling.factor"].value == 40


@pytest.mark.parametrize(
    ("left_out", "fields"),
    [
        ("first_k_dense_replace", {"mlp_layer_types": ["dense", "sparse"]}),
        ("first_k_dense_replace", {"moe_layer_freq": [0, 1, 1]}),
        ("vocab", {"moe_layer_freq": [0, 1]}),
        ("n_routed_experts", {"num_local_experts": 4}),
        ("n_routed_experts", {"num_experts": 4}),
        ("num_key_value_heads", {}),
        ("num_key_value_heads", {"num_key_value_heads": None}),
    ],
)
def test_f21_other_words_for_the_same_give_the_same_file(tmp_path, left_out, fields):
    config = without(V3, left_out) | fields
    source = write_checkpoint(tmp_path / "x", config, weights(V3))
    original = write_checkpoint(tmp_path / "y" / "x", V3, weights(V3))
    assert plan(source).files == plan(original).files
    assert "does not read" not in " ".join(plan(source).warnings)


@pytest.mark.parametrize("target", TARGETS)
def test_f13_a_head_of_its_own_is_used_though_config_ties_it(loud, tmp_path, target):
    source = changed(loud, tmp_path, tie_word_embeddings=True)
    planned = plan(source, target=target)
    assert planned.warnings[0].startswith("lm_head.weight differs from the token embedding")
    assert "lm_head" not in " ".join(dropped.reason for dropped in planned.dropped)
    assert distance(in_engine(source, target), reference(loud, TOKENS)) < BOUND


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_f13_a_head_that_is_the_embedding_is_dropped_silently(tmp_path, dtype):
    tensors = weights(V3)
    tensors["lm_head.weight"] = stored(floats(tensors["model.embed_tokens.weight"]), dtype)
    planned = plan(write_checkpoint(tmp_path / "x", V3 | {"tie_word_embeddings": True}, tensors))
    assert [dropped.reason for dropped in planned.dropped] == ["lm_head, tied to the token embedding"]
    assert "lm_head" not in " ".join(planned.warnings)


def test_f13_a_head_of_a_nested_language_model_is_compared_too(tmp_path):
    config = {"architectures": V3["architectures"], "text_config": V3 | {"tie_word_embeddings": True}}
    planned = plan(write_checkpoint(tmp_path / "x", config, weights(V3)))
    assert "output.weight" in {tensor.info.name for tensor in planned.files[0].tensors}


def test_f13_a_plan_reads_no_more_than_a_sample_of_a_large_head(tmp_path, monkeypatch):
    source, readinto, read = tied_with_one_changed_row(tmp_path), LocalFiles.readinto, 0

    def counted(files, file, offset, buffer):
        nonlocal read
        read += memoryview(buffer).nbytes if file.name.endswith(".safetensors") else 0
        readinto(files, file, offset, buffer)

    monkeypatch.setattr(LocalFiles, "readinto", counted)
    assert [dropped.reason for dropped in plan(source).dropped] == ["lm_head, tied to the token embedding"]
    assert read < 33 << 20


def test_f13_verify_compares_all_of_a_head(tmp_path):
    source = tied_with_one_changed_row(tmp_path)
    file = convert(source, tmp_path / "x.gguf").files[0].path
    with pytest.raises(VerificationError, match="was left out as tied to the token embedding, but some rows differ"):
        verify(file, source)


def tied_with_one_changed_row(folder: Path) -> Path:
    """A head of 24 MB that is the embedding but for one row, which no sample shows."""
    config = V3 | {"tie_word_embeddings": True, "vocab_size": 393216}
    tensors = weights(V3 | {"tie_word_embeddings": True})
    embedding = np.zeros((393216, 32), np.float32)
    tensors["model.embed_tokens.weight"] = stored(embedding, "BF16")
    embedding[40_000] = 1
    return write_checkpoint(folder / "x", config, tensors | {"lm_head.weight": stored(embedding, "BF16")})


LITE = "expects no q_lora_rank with 26 or 27 layers, or with 48 layers and 128,256 tokens, and one otherwise"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("fields", "loads"),
    [
        ({"num_hidden_layers": 16, "q_lora_rank": None}, False),
        ({"num_hidden_layers": 27, "q_lora_rank": None}, True),
        ({"num_hidden_layers": 27, "q_lora_rank": 24}, False),
        ({"num_hidden_layers": 48, "q_lora_rank": None}, False),
        ({"num_hidden_layers": 48, "q_lora_rank": None, "vocab_size": 128256}, True),
        ({"num_hidden_layers": 16, "q_lora_rank": 24}, True),
    ],
    ids=str,
)
def test_f17_the_engines_rule_about_depth_is_told_for_both_targets(tmp_path, fields, loads, target):
    config = V2 | fields
    lines = plan(write_checkpoint(tmp_path / "x", config, weights(config)), target=target).warnings
    assert [LITE in line for line in lines] == ([] if loads else [True])
    assert all("(llama.cpp 0.5.0)" in line for line in lines)


@pytest.mark.parametrize("target", TARGETS)
def test_f17_the_engine_does_not_load_what_the_plan_says_it_does_not_load(tmp_path, target):
    source = write_checkpoint(tmp_path / "x", V2, weights(V2))
    file = convert(source, tmp_path / "x.gguf", target=target).files[0].path
    with pytest.raises(AssertionError, match=r"key not found in model: deepseek2\.attention\.q_lora_rank"):
        computed(file)


def test_f17_all_groups_are_one_group_since_the_engine_aborts_on_them(loud):
    keys = plan(loud).files[0].keys
    assert json.loads((loud / "config.json").read_text())["n_group"] == 3
    assert keys["deepseek2.expert_group_count"].value == keys["deepseek2.expert_group_used_count"].value == 1


def test_f17_as_many_groups_as_experts_are_told(tmp_path):
    assert "expects fewer groups of experts than experts" in warnings(tmp_path, V3 | {"n_group": 4})[0]
