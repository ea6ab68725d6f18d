"""Conversions of DeepSeek-V4 are byte-identical to the output of llama.cpp's converter, to files that were made by rule
where it fails, and to what llama-quantize makes of exact weights.
"""

import re
from pathlib import Path

import pytest

from deepgguf import convert, verify
from golden import GOLDENS, Golden, describe_written, read_golden
from v4 import NARROW, WIDE, v4_weights, with_the_releases_tokenizer, write_v4

CONVERTED, DERIVED, QUANTIZED = "v32v4/llama.cpp", "v32v4/derived", "v32v4/quantized-exact"

# The choices that make each golden of llama.cpp's converter.
CHOICES = {
    "v4": {},
    "v4-dspark": {},
    "v4-wide": {},
    "v4-mtp": {"mtp": "only"},
    "v4-realtok": {},
    "v4-dspark-draft": {"draft": True},
    "v4-vision": {"only": "text"},
    "v4-vision-draft": {"draft": True},
    "v4-vision-mmproj-bf16": {"only": "mmproj"},
    "v4-vision-mmproj-f16": {"only": "mmproj", "type": "f16"},
}

# Hyper-connections stay in F32 unless they are named.
STREAMS = ("hc_attn_fn.weight", "hc_ffn_fn.weight", "output_hc_fn.weight")


@pytest.fixture(scope="module")
def source(checkpoint, tmp_path_factory):
    """`source(golden)`: the checkpoint that a golden was made from."""
    folder, made = tmp_path_factory.mktemp("v4"), {}
    changed = {"v4-wide": (WIDE, True), "v4-realtok": (NARROW, False)}

    def find(golden: str) -> Path:
        if golden not in changed:
            return checkpoint(re.sub("-(mtp|draft|mmproj.*)$", "", golden))
        if golden not in made:
            changes, wide = changed[golden]
            made[golden] = write_v4(folder / golden, "v4", changes, v4_weights("v4", changes, wide=wide))
            if golden == "v4-realtok":
                with_the_releases_tokenizer(made[golden])
        return made[golden]

    return find


def written(source: Path, folder: Path, **choices: object) -> Golden:
    """What `convert` writes, after `verify` has found nothing wrong with it."""
    (file,) = convert(source, folder / "x.gguf", target="llama.cpp", jobs=2, **choices).files
    verify(file.path, source, jobs=2)
    return describe_written(file.path)


# The goldens' converter had no templates beside it, as its package on PyPI has none.
OURS = ("general.name", "tokenizer.chat_template")


def shared(keys: dict, *starts: str) -> dict:
    return {key: value for key, value in keys.items() if not key.startswith((*OURS, *starts))}


@pytest.mark.parametrize("golden", CHOICES)
def test_tensors_and_keys_are_those_of_llamacpps_converter(golden, source, tmp_path):
    found, expected = written(source(golden), tmp_path, **CHOICES[golden]), read_golden(CONVERTED, golden)
    assert found.by_name() == expected.by_name()
    assert shared(found.keys, "tokenizer.ggml.pre") == shared(expected.keys, "tokenizer.ggml.pre")


def test_the_releases_pre_tokenizer_goes_by_the_name_that_every_engine_knows(source, tmp_path):
    found, expected = written(source("v4-realtok"), tmp_path), read_golden(CONVERTED, "v4-realtok")
    assert found.keys["tokenizer.ggml.pre"] == (["STRING"], "deepseek-v3")
    assert expected.keys["tokenizer.ggml.pre"] == (["STRING"], "joyai-llm")


@pytest.mark.parametrize("golden", ["v4-base", "v4-bf16", "v4-hf"])
def test_what_llamacpps_converter_cannot_read_is_written_by_the_same_rules(golden, source, tmp_path):
    found, expected = written(source(golden), tmp_path), read_golden(DERIVED, golden)
    assert found.by_name() == expected.by_name()
    assert shared(found.keys) == shared(expected.keys)


def quantized_goldens() -> list[str]:
    return sorted(path.stem for path in (GOLDENS / QUANTIZED).glob("*.json"))


@pytest.mark.parametrize("golden", quantized_goldens())
def test_one_pass_gives_what_llama_quantize_makes_of_exact_weights_but_for_hyper_connections(golden, source, tmp_path):
    name, recipe = golden.rsplit("-", 1)
    found, expected = written(source(name), tmp_path, type=recipe.lower()), read_golden(QUANTIZED, golden)
    unquantized = read_golden(CONVERTED, name).by_name()
    kept = {tensor: unquantized[tensor] for tensor in unquantized if tensor.endswith(STREAMS)}
    assert {type for type, _, _ in kept.values()} == {"F32"}
    assert found.by_name() == expected.by_name() | kept
    assert found.keys["general.file_type"] == expected.keys["general.file_type"]


@pytest.mark.parametrize("golden", quantized_goldens())
def test_hyper_connections_that_are_named_get_the_bytes_of_llama_quantize_too(golden, source, tmp_path):
    name, recipe = golden.rsplit("-", 1)
    expected = read_golden(QUANTIZED, golden).by_name()
    types = {tensor: type.lower() for tensor, (type, _, _) in expected.items() if tensor.endswith(STREAMS)}
    assert written(source(name), tmp_path, type=recipe.lower(), tensor_types=types).by_name() == expected


@pytest.mark.parametrize("name", ["v4", "v4-base"])
@pytest.mark.parametrize(("type", "file_type"), [("f32", 0), ("f16", 1), ("bf16", 32)])
def test_a_plain_type_is_that_of_every_matrix_but_those_that_are_always_f32(name, type, file_type, source, tmp_path):
    auto = written(source(name), tmp_path).by_name()
    found = written(source(name), tmp_path, type=type, overwrite=True)
    kept = ("F32", "I32")
    expected = {tensor: kind if kind in kept else type.upper() for tensor, (kind, _, _) in auto.items()}
    assert {tensor: kind for tensor, (kind, _, _) in found.by_name().items()} == expected
    assert found.keys["general.file_type"] == (["UINT32"], file_type)


def test_mxfp4_moe_keeps_the_experts_blocks_as_they_are(source, tmp_path):
    found, auto = written(source("v4"), tmp_path, type="mxfp4_moe").by_name(), read_golden(CONVERTED, "v4").by_name()
    experts = {tensor: entry for tensor, entry in auto.items() if tensor.endswith("_exps.weight")}
    assert len(experts) == 15
    assert experts.items() <= found.items()


def test_a_file_for_ollama_has_the_same_bytes(source, tmp_path):
    for target in ("ollama", "llama.cpp"):
        convert(source("v4"), tmp_path / f"{target}.gguf", target=target, jobs=2)
    assert (tmp_path / "ollama.gguf").read_bytes() == (tmp_path / "llama.cpp.gguf").read_bytes()


def test_no_golden_is_left_out():
    there = {path.stem for path in (GOLDENS / CONVERTED).glob("v4*.json")}
    assert there == CHOICES.keys()
    assert len(list((GOLDENS / DERIVED).glob("*.json"))) == 3
    assert len(quantized_goldens()) == 8
