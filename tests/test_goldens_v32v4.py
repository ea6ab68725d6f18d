"""Conversions of DeepSeek-V3.2 are byte-identical to the output of llama.cpp's converter and of llama-quantize."""

from pathlib import Path

import pytest

from deepgguf import convert, plan
from golden import GOLDENS, describe_written, read_golden
from v32 import as_transformers_saves, with_wide_scales

CONVERTED, QUANTIZED = "v32v4/llama.cpp", "v32v4/quantized"
FP8_AS_Q8 = "v32-fp8-fp8asq8"  # convert_hf_to_gguf.py --fp8-as-q8

# The choices that make each golden of llama.cpp's converter.
CHOICES = {
    "v32-fp8": {},
    "v32-fp8-f16": {"type": "f16"},
    "v32-fp8-f32": {"type": "f32"},
    "v32-fp8-q8_0": {"type": "q8_0"},
    "v32-fp8-nomtp": {"mtp": "drop"},
    "v32-fp8-mtp": {"mtp": "only"},
    "v32-bf16": {},
    "v32-bf16-q8_0": {"type": "q8_0"},
    "v32-bf16-mtp": {"mtp": "only"},
    "v32-hf": {},
    "v32-wide": {},
    "v32-wide-q8_0": {"type": "q8_0"},
}
# llama.cpp's converter promises an MTP layer that transformers did not save.
PROMISED = {"v32-hf": {"deepseek32.block_count": (["UINT32"], 4), "deepseek32.nextn_predict_layers": (["UINT32"], 1)}}


@pytest.fixture(scope="module")
def source(checkpoint, tmp_path_factory):
    """`source(golden)`: the checkpoint that a golden was made from."""
    folder, made = tmp_path_factory.mktemp("v32"), {}
    derived = {"v32-hf": ("v32-bf16", as_transformers_saves), "v32-wide": ("v32-fp8", with_wide_scales)}

    def find(golden: str) -> Path:
        name = "-".join(golden.split("-")[:2])
        if name not in derived:
            return checkpoint(name)
        if name not in made:
            origin, derive = derived[name]
            made[name] = derive(checkpoint(origin), folder / name)
        return made[name]

    return find


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (GOLDENS / folder).glob("v32-*.json"))


@pytest.mark.parametrize("golden", CHOICES)
def test_tensors_and_keys_are_those_of_llamacpps_converter(golden, source, tmp_path):
    convert(source(golden), tmp_path / "x.gguf", target="llama.cpp", jobs=2, **CHOICES[golden])
    written, expected = describe_written(tmp_path / "x.gguf"), read_golden(CONVERTED, golden)
    assert written.by_name() == expected.by_name()
    assert {key: value for key, value in expected.keys.items() if written.keys.get(key) != value} == PROMISED.get(
        golden, {}
    )
    assert written.keys.keys() <= expected.keys.keys()


def test_an_mtp_layer_that_transformers_did_not_save_is_not_promised(source, tmp_path):
    assert plan(source("v32-hf"), target="llama.cpp").warnings == ()
    convert(source("v32-hf"), tmp_path / "x.gguf", target="llama.cpp")
    keys = describe_written(tmp_path / "x.gguf").keys
    assert keys["deepseek32.block_count"] == (["UINT32"], 3)
    assert "deepseek32.nextn_predict_layers" not in keys


@pytest.mark.parametrize("golden", [name for name in names(QUANTIZED) if not name.endswith("Q8_0")])
def test_quantizing_in_one_pass_gives_the_bytes_of_converter_and_llama_quantize(golden, source, tmp_path):
    type = golden.removeprefix("v32-fp8-").removeprefix("v32-bf16-")
    convert(source(golden), tmp_path / "x.gguf", target="llama.cpp", type=type.lower(), jobs=2)
    written, expected = describe_written(tmp_path / "x.gguf"), read_golden(QUANTIZED, golden)
    assert written.by_name() == expected.by_name()
    assert written.keys["general.file_type"] == expected.keys["general.file_type"]


@pytest.mark.parametrize("name", ["v32-fp8", "v32-bf16"])
def test_q8_0_keeps_indexer_proj_in_f32_like_the_converter_unless_it_is_chosen_as_llama_quantize_has_it(
    name, source, tmp_path
):
    choices = {"target": "llama.cpp", "type": "q8_0", "tensor_types": "indexer.proj=q8_0"}
    convert(source(name), tmp_path / "x.gguf", jobs=2, **choices)
    expected = read_golden(QUANTIZED, f"{name}-Q8_0").by_name()
    assert describe_written(tmp_path / "x.gguf").by_name() == expected


def test_matrices_born_in_fp8_can_be_q8_0_and_all_others_what_they_are(source, tmp_path):
    patterns = ["token_embd=bf16", "^output.weight=bf16", "nextn=bf16"]
    choices = {"target": "llama.cpp", "type": "q8_0", "tensor_types": patterns}
    convert(source("v32-fp8"), tmp_path / "x.gguf", jobs=2, **choices)
    assert describe_written(tmp_path / "x.gguf").by_name() == read_golden(CONVERTED, FP8_AS_Q8).by_name()


def test_a_file_for_ollama_has_the_same_bytes(source, tmp_path):
    for target in ("ollama", "llama.cpp"):
        convert(source("v32-fp8"), tmp_path / f"{target}.gguf", target=target, jobs=2)
    assert (tmp_path / "ollama.gguf").read_bytes() == (tmp_path / "llama.cpp.gguf").read_bytes()


def test_no_golden_is_left_out():
    assert set(names(CONVERTED)) == CHOICES.keys() | {FP8_AS_Q8}
    assert len(names(QUANTIZED)) == 8
