"""What a plan says of its types: the notes of single tensors, `general.file_type`, and the names of files."""

import pytest

from deepgguf import plan
from tiny_checkpoint import OCR, weights, write_checkpoint


def notes(folder, **choices):
    return {t.info.name: t.note for t in plan(folder, **choices).files[0].tensors}


def test_a_fallback_says_which_rows_do_not_fit_and_what_they_get_instead(checkpoint):
    found = notes(checkpoint("v3-bf16"), type="q4_k_m", target="llama.cpp")
    assert found["blk.1.attn_v_b.weight"] == "rows of 64 are not a multiple of 256: Q5_0 instead of Q4_K"
    assert found["blk.1.attn_q_a.weight"] == ""


def test_rows_that_fit_no_block_say_so(tmp_path):
    config = OCR | {"language_config": OCR["language_config"] | {"intermediate_size": 40}}
    folder = write_checkpoint(tmp_path / "x", config, weights(config))
    found = notes(folder, type="q8_0", target="llama.cpp")
    assert found["blk.0.ffn_down.weight"] == "rows of 40 are not a multiple of 32: F16 instead of Q8_0"


def test_a_pattern_that_matches_no_tensor_is_warned_of(checkpoint):
    patterns = {"self_attn": "q8_0", "attn_q_a": "q8_0"}
    warned = plan(checkpoint("v3-bf16"), type="q4_k_m", tensor_types=patterns).warnings
    assert warned == ("no tensor's name matches self_attn, so nothing gets the type Q8_0 by it",)


def test_a_pinned_type_is_noted_as_the_targets_exception(checkpoint):
    found = notes(checkpoint("v3-bf16"), type="q4_k_m", target="ollama")
    assert found["blk.1.attn_q_a.weight"] == "the target's exception"
    assert found["blk.1.ffn_up_exps.weight"] == ""


def test_a_chosen_type_is_noted_as_the_users_choice(checkpoint):
    found = notes(checkpoint("v3-bf16"), type="q4_k_m", tensor_types=["ffn_up=q8_0"], output_tensor_type="q5_k")
    assert found["blk.1.ffn_up_exps.weight"] == "the user's choice"
    assert found["output.weight"] == "the user's choice"
    assert found["blk.1.ffn_gate_exps.weight"] == ""


@pytest.mark.parametrize(("type", "number"), [("f32", 0), ("f16", 1), ("bf16", 32)])
def test_file_type_and_name_follow_the_type_that_was_asked_for(tmp_path, type, number):
    folder = write_checkpoint(tmp_path / "x", OCR, weights(OCR))
    mmproj = plan(folder, type=type, target="llama.cpp").files[1]
    weights_of = {"F32": 0, "F16": 0, "BF16": 0}
    for tensor in mmproj.tensors:
        weights_of[tensor.info.type.name] += tensor.weights
    assert max(weights_of, key=weights_of.__getitem__) == "F32"  # so that most weights say otherwise
    assert mmproj.keys["general.file_type"].value == number
    assert mmproj.name == f"mmproj-x-{type.upper()}.gguf"
