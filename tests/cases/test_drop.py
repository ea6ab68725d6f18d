"""F21: tensors that the user names are left out, and nothing that the model needs."""

import pytest

import deepgguf
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.planning.schema import Dropped
from tiny_checkpoint import V3, stored, weights, write_checkpoint

REWARD_MODEL = {
    "reward_model.summary.weight": stored([[0.5] * 32], "F32"),
    "reward_model.summary.bias": stored([0.5], "F32"),
}
ODD = REWARD_MODEL | {"model.layers.1.mlp.local_tokens_per_expert": stored([1, 2, 3, 4], "I64")}


@pytest.fixture
def source(tmp_path):
    return write_checkpoint(tmp_path / "x", V3, weights(V3) | ODD)


def test_f21_what_is_asked_for_is_left_out_and_reported(source, tmp_path):
    drop = ["^reward_model", "local_tokens"]
    assert deepgguf.plan(source, drop=drop).dropped == (
        Dropped("asked for", 3, 0, 32 * 4 + 4 + 4 * 8, "reward_model.summary.weight"),
    )
    deepgguf.convert(source, tmp_path / "x.gguf", drop=drop)
    clean = write_checkpoint(tmp_path / "clean" / "x", V3, weights(V3))
    deepgguf.convert(clean, tmp_path / "clean.gguf")
    assert (tmp_path / "x.gguf").read_bytes() == (tmp_path / "clean.gguf").read_bytes()
    assert deepgguf.verify(tmp_path / "x.gguf", source, drop=drop, remake=True).differences == ()


def test_f21_one_pattern_may_be_a_text(source):
    assert deepgguf.plan(source, drop="reward_model|local").dropped[0].tensors == 3


def test_f21_an_unknown_tensor_is_refused_with_the_option_that_leaves_it_out(source):
    with pytest.raises(CheckpointError, match=r"is unknown and 1 more: .*leave it out with `drop`"):
        deepgguf.plan(source)


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [("lm_head", "lm_head.weight"), ("experts.2.up", "model.layers.1.mlp.experts.2.up_proj.weight")],
)
def test_f21_what_the_model_needs_is_not_left_out(source, pattern, needed):
    with pytest.raises(
        UsageError, match=rf"`drop` would drop {needed}, which the model needs; give a narrower pattern"
    ):
        deepgguf.plan(source, drop=["reward_model", "local", pattern])


def test_f21_a_pattern_that_no_tensor_has_is_refused(source):
    with pytest.raises(
        UsageError, match=r"`drop`: 'reward_models' matches no tensor of the checkpoint; give a part of a name"
    ):
        deepgguf.plan(source, drop=["reward_model", "reward_models"])


@pytest.mark.parametrize(("pattern", "found"), [("*.bias", "not a regular expression"), ("", "is empty")])
def test_f21_what_is_no_pattern_is_refused(source, pattern, found):
    with pytest.raises(UsageError, match=rf"`drop`:? .*{found}"):
        deepgguf.plan(source, drop=pattern)


def test_f18_f21_the_copies_in_an_mtp_layer_can_be_left_out_of_the_file(tmp_path):
    config = V3 | {"num_nextn_predict_layers": 1}
    source = write_checkpoint(tmp_path / "x", config, weights(config))
    plan = deepgguf.plan(source, target="llama.cpp", mtp="keep", drop=r"layers\.2\.(embed_tokens|shared_head\.head)")
    assert [(dropped.reason, dropped.tensors) for dropped in plan.dropped] == [("asked for", 2)]
    assert "blk.2.nextn.embed_tokens.weight" not in {t.info.name for t in plan.files[0].tensors}


def test_f13_a_head_that_is_not_meant_is_left_out_as_the_warning_says(tmp_path):
    source = write_checkpoint(tmp_path / "x", V3 | {"tie_word_embeddings": True}, weights(V3))
    (warning,) = [w for w in deepgguf.plan(source).warnings if w.startswith("lm_head.weight")]
    assert warning.endswith('leave it out with `drop="lm_head"`')
    planned = deepgguf.plan(source, drop="lm_head")
    assert [(d.reason, d.example) for d in planned.dropped] == [("asked for", "lm_head.weight")]
    assert not any("lm_head" in warning for warning in planned.warnings)
    deepgguf.convert(source, tmp_path / "x.gguf", drop="lm_head")
    assert deepgguf.verify(tmp_path / "x.gguf", source, drop="lm_head", remake=True).differences == ()
    assert "output.weight" not in {tensor.info.name for tensor in planned.files[0].tensors}


def test_f4_layers_that_are_not_meant_are_left_out_by_name(tmp_path):
    source = write_checkpoint(tmp_path / "x", V3 | {"num_hidden_layers": 1}, weights(V3))
    (dropped,) = deepgguf.plan(source, drop=r"layers\.1\.").dropped
    assert dropped.reason == "asked for"
