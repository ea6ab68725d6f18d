"""DeepSeek-V4 that sees (Vision-Exp): what goes into which file, what is refused, and what verification finds."""

import json
from pathlib import Path

import numpy as np
import pytest

import deepgguf
from deepgguf import compare, convert, plan, sample
from deepgguf.errors import CheckpointError, UsageError
from planting import change_tensor
from tiny_checkpoint import read_tensors
from v4 import write_v4


def names(made: deepgguf.Plan) -> dict[str, set[str]]:
    return {file.kind: {tensor.info.name for tensor in file.tensors} for file in made.files}


def test_pictures_have_a_file_of_their_own_and_biases_in_the_models(checkpoint):
    found = names(plan(checkpoint("v4-vision"), target="llama.cpp"))
    assert found.keys() == {"text", "mmproj"}
    assert {f"blk.{n}.exp_probs_b_vl.bias" for n in range(3)} < found["text"]
    assert not any(name.startswith(("v.", "mm.")) for name in found["text"])
    assert all(name.startswith(("v.", "mm.")) for name in found["mmproj"])


def test_a_model_that_does_not_see_has_neither(checkpoint):
    found = names(plan(checkpoint("v4-dspark"), target="llama.cpp"))
    assert found.keys() == {"text"}
    assert not any("_vl" in name for name in found["text"])


def test_what_sees_is_left_out_for_ollama_and_the_plan_says_so(checkpoint):
    made = plan(checkpoint("v4-vision"), target="ollama")
    text = names(plan(checkpoint("v4-vision"), target="llama.cpp"))["text"]
    assert names(made) == {"text": text}
    assert {d.reason: d.tensors for d in made.dropped}["not part of a file for ollama"] == 35
    assert made.warnings == (
        'this file sees no pictures: only `target="llama.cpp"` has one for what the model sees with (mmproj)',
    )


def test_the_mmproj_alone_is_refused_of_a_model_that_does_not_see(checkpoint):
    with pytest.raises(UsageError, match="`only`: this model has no mmproj file for llama.cpp"):
        plan(checkpoint("v4-dspark"), target="llama.cpp", only="mmproj")


def test_the_mmproj_is_not_quantized(checkpoint, tmp_path):
    for type in ("auto", "q4_k_m"):
        (tmp_path / type).mkdir()
        convert(checkpoint("v4-vision"), tmp_path / type / "x.gguf", target="llama.cpp", type=type)
    auto, other = ((tmp_path / type / "mmproj-x.gguf").read_bytes() for type in ("auto", "q4_k_m"))
    assert auto == other


def test_every_weight_that_sees_is_equal_where_the_type_is_the_sources(checkpoint, tmp_path):
    source = checkpoint("v4-vision")
    made = convert(source, tmp_path / "x.gguf", target="llama.cpp", type="source", only="mmproj").files[0].path
    found = deepgguf.verify(made, source, remake=True).source.equality
    assert found.weights == found.equal > 0


def changed(source: Path, folder: Path, changes: dict) -> Path:
    return write_v4(folder / "v4", "v4-vision", changes, read_tensors(source))


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        ("layers.0.ffn.gate.bias_vl", "tensor layers.0.ffn.gate.bias_vl: "),
        ("vision.blocks.1.mlp.w1.weight", "tensor vision.blocks.1.mlp.w1.weight: "),
        ("image_pad", "tensor image_pad: "),
    ],
)
def test_a_missing_tensor_is_named(missing, found, checkpoint, tmp_path):
    tensors = {name: t for name, t in read_tensors(checkpoint("v4-vision")).items() if name != missing}
    with pytest.raises(CheckpointError) as caught:
        plan(write_v4(tmp_path / "v4", "v4-vision", None, tensors), target="llama.cpp")
    assert str(caught.value).startswith(found)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"vision_dim": None}, "config.json: vision_dim: Expected `int`, got `null`"),
        ({"vision_n_layers": -1}, "config.json: vision_n_layers: Expected `int` >= 1"),
        (
            {"vision_dim": 32},
            "tensor vision.patch_embed.proj.weight: shape [64, 588], expected [32, 588] by config.json",
        ),
        ({"vision_n_layers": 0}, "tensor layers.0.ffn.gate.bias_vl: "),
    ],
)
def test_a_config_that_does_not_fit_is_refused(changes, found, checkpoint, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        plan(changed(checkpoint("v4-vision"), tmp_path, changes), target="llama.cpp")
    assert str(caught.value).startswith(found)


@pytest.mark.parametrize(
    ("changes", "built_in"),
    [
        ({"vision_max_n_token": 1024}, "vision_max_n_token 384 built in, and this model has 1024"),
        ({"vision_max_wh_ratio": 4}, "vision_max_wh_ratio 8 built in, and this model has 4"),
        ({"vision_rope_theta": 5e5}, "vision_rope_theta 10000 built in, and this model has 500000"),
    ],
)
def test_what_the_engine_has_built_in_is_warned_of(changes, built_in, checkpoint, tmp_path):
    made = plan(changed(checkpoint("v4-vision"), tmp_path, changes), target="llama.cpp")
    assert made.warnings == (f"llama.cpp has {built_in}: it will see otherwise",)


def test_the_release_is_warned_of_nothing(checkpoint):
    assert plan(checkpoint("v4-vision"), target="llama.cpp").warnings == ()


@pytest.mark.parametrize("name", ["v.blk.1.ffn_gate.weight", "v.blk.1.ffn_up.weight", "v.patch_embd.weight"])
def test_rows_that_changed_places_are_found(name, checkpoint, tmp_path):
    source = checkpoint("v4-vision")
    choices = {"target": "llama.cpp", "only": "mmproj", "manifest": False}
    made = convert(source, tmp_path / "x.gguf", **choices).files[0].path
    assert compare(made, source).differences == ()
    change_tensor(made, name, lambda data, info: np.roll(data.reshape(info.shape[0], -1), 1, axis=0))
    assert {difference.where.split(",")[0] for difference in compare(made, source).differences} == {f"tensor {name}"}


def test_the_whole_model_is_planned_and_every_tensor_counted(tmp_path):
    made = sample("v4-vision", tmp_path / "flash", size="flash", shards=48, sparse=True)
    assert (made.tensors, made.nbytes) == (72_633, 167_811_372_792)  # 0731's, and 316 of what sees
    assert json.loads((made.folder / "config.json").read_text())["vision_n_layers"] == 32
    planned = plan(made.folder, target="llama.cpp")
    text, mmproj = planned.files
    assert (len(text.tensors), len(mmproj.tensors)) == (1328 + 43, 267 + 32)
    kept = sum(len(s.blobs) for file in planned.files for t in file.tensors for s in t.sources)
    assert kept - 32 + sum(d.tensors + d.scales for d in planned.dropped) == 72_633
