"""What config.json says in OCR-2, Unlimited-OCR and the Kimi-K2 family, in each of its words, and what is wrong with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deepgguf import plan
from deepgguf.errors import CheckpointError


@pytest.fixture
def edited(checkpoint, tmp_path) -> Callable[[str, Callable[[dict], object]], Path]:
    """`edited(name, edit)`: a copy of a sample with its config.json changed."""

    def make(name: str, edit: Callable[[dict], object]) -> Path:
        shutil.copytree(checkpoint(name), tmp_path / "x")
        path = tmp_path / "x" / "config.json"
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))
        return tmp_path / "x"

    return make


def keys(folder: Path, file: int = 0) -> dict[str, object]:
    return {key: value.value for key, value in plan(folder, target="llama.cpp").files[file].keys.items()}


@pytest.mark.parametrize(
    ("inner", "outer", "window"),
    [
        ({"sliding_window_size": 64, "sliding_window": 32}, 16, 64),
        ({"sliding_window_size": None, "sliding_window": 32}, 16, 32),
        ({"sliding_window_size": None}, 16, 16),
        ({"sliding_window_size": None}, None, None),
    ],
)
def test_the_window_is_the_language_models_before_the_outer_ones(inner, outer, window, edited):
    folder = edited("unlimited-ocr", lambda c: (c["language_config"].update(inner), c.update(sliding_window=outer)))
    assert keys(folder).get("deepseek2-ocr.attention.sliding_window") == window
    assert any("its answer" in text for text in plan(folder).warnings) == (window is not None)


def test_the_width_of_a_key_is_that_of_config_json_or_the_releases_whatever_the_tensors_have(edited):
    folder = edited("ocr2", lambda c: c["vision_config"].update(intermediate_size=96))
    assert keys(folder, 1)["clip.vision.feed_forward_length"] == 96


def test_heads_that_do_not_divide_the_encoders_width_are_refused(edited):
    folder = edited("ocr2-resaved", lambda c: c["vision_config"]["encoder_config"].update(num_attention_heads=15))
    with pytest.raises(CheckpointError, match="width 112, 15 heads and 2 of keys and values, expected multiples"):
        plan(folder)


def test_layers_that_are_not_there_are_named(edited):
    folder = edited("ocr2", lambda c: c["vision_config"].update(layers=25))
    with pytest.raises(CheckpointError, match=r"^tensor model\.qwen2_model\.model\.model\.layers\.24\."):
        plan(folder)


def test_moonvits_heads_must_hold_pairs_for_both_directions(edited):
    folder = edited("kimi-k25", lambda c: c["vision_config"].update(vt_num_attention_heads=32))
    with pytest.raises(CheckpointError, match="vt_hidden_size is 64 for 32 heads, expected a multiple of 4 for each"):
        plan(folder)


@pytest.mark.parametrize("sides", [[4, 1], [2, 3], [1, 1]])
def test_patches_that_are_not_merged_in_squares_are_refused(sides, edited):
    folder = edited("kimi-k25", lambda c: c["vision_config"].update(merge_kernel_size=sides))
    with pytest.raises(CheckpointError, match="merge_kernel_size is .*, expected two equal numbers above 1"):
        plan(folder)


@pytest.mark.parametrize(
    ("name", "part", "changed", "found"),
    [
        ("kimi-k25", "", {"projector_hidden_act": "silu"}, "projector_hidden_act is 'silu', expected 'gelu'"),
        ("ocr2-hf", "encoder_config", {"hidden_act": "gelu"}, "hidden_act is 'gelu', expected 'silu'"),
        (
            "ocr2-hf",
            "encoder_config",
            {"rope_parameters": {"rope_theta": 5e5}},
            "rope_theta is 500000.0, expected 1000000",
        ),
    ],
)
def test_what_the_engine_has_built_in_must_be_what_config_json_says(name, part, changed, found, edited):
    def edit(content):
        vision = content["vision_config"]
        (vision[part] if part else vision).update(changed)

    with pytest.raises(CheckpointError, match=found):
        plan(edited(name, edit))


@pytest.mark.parametrize("file", ["processor_config.json", "preprocessor_config.json"])
def test_the_file_with_a_wrong_colour_is_named(file, edited):
    folder = edited("kimi-k25", lambda c: None)
    (folder / "preprocessor_config.json").unlink()
    (folder / file).write_text('{"image_mean": [0.5]}')
    with pytest.raises(CheckpointError, match=f"^{file}: image_mean is "):
        plan(folder, target="llama.cpp")


def test_without_eos_in_config_json_a_kimi_is_told_to_write_it_there(edited):
    folder = edited("moonlight", lambda c: c.pop("eos_token_id"))
    (found,) = [text for text in plan(folder).warnings if "EOS" in text]
    assert found.endswith("take config.json from the original model, or write into it eos_token_id")


def test_kimis_betas_are_warned_of_with_the_engines_options(checkpoint):
    (found,) = [text for text in plan(checkpoint("kimi-k2"), target="llama.cpp").warnings if "betas" in text]
    assert "run llama.cpp with --yarn-beta-fast 1 --yarn-beta-slow 1" in found


def test_a_kimi_with_another_tokenizer_json_is_split_as_kimi(checkpoint, edited):
    folder = edited("kimi-k2", lambda c: None)
    shutil.copyfile(checkpoint("v3-bf16") / "tokenizer.json", folder / "tokenizer.json")
    raw = (folder / "tokenizer.json").read_text().replace("{1,3}", "{1,4}")
    (folder / "tokenizer.json").write_text(raw)
    assert keys(folder)["tokenizer.ggml.pre"] == "kimi-k2"
