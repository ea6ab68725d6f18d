"""What each family needs in Ollama, decided from the checkpoint's contents."""

import json
import shutil
from pathlib import Path

import pytest

import deepgguf
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.ollama.engine import projector_of, refuse_old_engine, required_version
from deepgguf.ollama.modelfile import Modelfile
from deepgguf.ollama.needs import becomes_q8_0

# The parts of V3.1's, V3.2-Exp's and R1's templates by which they are told apart.
V31 = (
    "{% if not thinking is defined %}{% set thinking = false %}{% endif %}"
    "{{ '<｜tool▁calls▁begin｜>' }}{{ '<think>' if thinking else '</think>' }}"
)
R1 = "{{ '<｜tool▁calls▁begin｜>' }}{{ content.split('</think>') }}{{ '<｜Assistant｜><think>\\n' }}"


@pytest.fixture
def changed(checkpoint, tmp_path):
    def change(name: str, files: dict[str, object]) -> Path:
        folder = tmp_path / name
        shutil.copytree(checkpoint(name), folder)
        for file, content in files.items():
            (folder / file).write_text(content if isinstance(content, str) else json.dumps(content))
        return folder

    return change


def needs(source: Path, **choices) -> Modelfile:
    return deepgguf.plan(source, **choices).modelfile()


def with_template(checkpoint, name: str, template: str) -> dict[str, object]:
    config = json.loads((checkpoint(name) / "tokenizer_config.json").read_text())
    return {"tokenizer_config.json": config | {"chat_template": template}}


def test_v31_is_rendered_and_parsed_by_ollama(checkpoint, changed):
    found = needs(changed("v3-bf16", with_template(checkpoint, "v3-bf16", V31)))
    assert (found.renderer, found.parser, found.template) == ("deepseek3.1", "deepseek3", "")


@pytest.mark.parametrize("template", [R1, "{{ '<｜DSML｜' }}<｜tool▁calls▁begin｜>{% if thinking is defined %}", None])
def test_others_go_by_the_template_in_the_file(checkpoint, changed, template):
    files = with_template(checkpoint, "v3-bf16", template) if template else {}
    found = needs(changed("v3-bf16", files))
    assert (found.renderer, found.parser, found.template) == ("", "", "")


@pytest.mark.parametrize(("target", "requires"), [("ollama", "0.13.0"), ("llama.cpp", "0.30.0")])
def test_ocr_gets_the_prompt_as_it_is_a_long_context_and_no_chance(checkpoint, target, requires):
    assert needs(checkpoint("ocr"), target=target) == Modelfile(
        template="{{ .Prompt }}", requires=requires, parameters={"temperature": 0, "num_ctx": 8192}
    )


def test_sampling_is_that_of_generation_config(changed):
    generation = {"temperature": 0.3, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.1, "do_sample": True}
    found = needs(changed("v3-bf16", {"generation_config.json": generation}))
    assert found.parameters == {"temperature": 0.3, "top_k": 40, "top_p": 0.95, "repeat_penalty": 1.1}


def test_a_model_that_is_not_sampled_takes_the_likeliest_token(changed):
    found = needs(changed("v3-bf16", {"generation_config.json": {"do_sample": False}}))
    assert found.parameters == {"temperature": 0}


@pytest.mark.parametrize(
    ("name", "template", "advised"),
    [
        ("v3-bf16", None, {"temperature": 0.3}),
        ("v3-bf16", R1, {"temperature": 0.6, "top_p": 0.95}),
        ("v32-bf16", None, {"temperature": 1, "top_p": 0.95}),
        ("v4", None, {"temperature": 1, "top_p": 1}),
    ],
)
def test_without_it_sampling_is_what_the_model_card_advises(checkpoint, changed, name, template, advised):
    files = with_template(checkpoint, name, template) if template else {}
    assert needs(changed(name, files | {"generation_config.json": {}})).parameters == advised


def test_a_base_model_gets_no_advice(checkpoint, changed):
    config = json.loads((checkpoint("v3-bf16") / "tokenizer_config.json").read_text())
    config.pop("chat_template")
    found = needs(changed("v3-bf16", {"tokenizer_config.json": config, "generation_config.json": {}}))
    assert found.parameters == {}


def test_licenses_are_the_texts_that_come_with_the_checkpoint(changed):
    found = needs(changed("v3-bf16", {"LICENSE-MODEL": "the model's", "LICENSE-CODE": "the code's", "NOTICE": "no"}))
    assert found.licenses == ("the code's", "the model's")


def test_a_file_brings_its_own_sampling_and_license(checkpoint, changed, tmp_path, models):
    source = changed(
        "v2-lite", {"generation_config.json": {"temperature": 0.3}, "README.md": "---\nlicense: mit\n---\n"}
    )
    deepgguf.convert(source, tmp_path / "v2.gguf", target="llama.cpp")
    deepgguf.import_to_ollama([tmp_path / "v2.gguf"], "v2")
    layers = json.loads((models / "manifests/registry.ollama.ai/library/v2/latest").read_bytes())["layers"]
    texts = [(models / "blobs" / layer["digest"].replace(":", "-")).read_bytes() for layer in layers[1:]]
    assert texts == [b"mit", b'{"temperature":0.3}\n']


@pytest.mark.parametrize(
    ("choices", "becomes"), [({}, True), ({"type": "q8_0"}, False), ({"target": "llama.cpp"}, False)]
)
def test_ollama_makes_q8_0_of_what_was_fp8_and_is_not_quantized(checkpoint, choices, becomes):
    assert becomes_q8_0(deepgguf.plan(checkpoint("v3-fp8"), **choices).files[0].keys) is becomes


def test_a_projector_that_the_engine_does_not_know_is_refused():
    assert projector_of({"clip.vision.projector_type": Value(ValueType.STRING, "deepseek4v")}) == "deepseek4v"
    refuse_old_engine("0.32.16", "deepseek4", "deepseek4v")
    refuse_old_engine("0.32.15", "deepseek2-ocr", "deepseekocr")
    with pytest.raises(
        deepgguf.UsageError, match="this Ollama is 0.32.15, which does not know the projector deepseek4v"
    ):
        refuse_old_engine("0.32.15", "deepseek4", "deepseek4v")


VERSIONS = {
    "deepseek2": "0.30.0",
    "deepseek2-ocr": "0.30.0",
    "deepseek32": "0.30.9",
    "deepseek4": "0.31.2",
    "deepseekocr": "0.13.0",
}


@pytest.mark.parametrize("architecture", VERSIONS)
def test_an_older_ollama_is_refused_and_says_which_one_is_needed(architecture):
    needed = VERSIONS[architecture]
    assert required_version(architecture) == needed
    refuse_old_engine(needed, architecture)
    refuse_old_engine("0.0.0", architecture)
    refuse_old_engine("1.0.0-rc1", architecture)
    with pytest.raises(deepgguf.UsageError) as refused:
        refuse_old_engine("0.12.11", architecture)
    assert str(refused.value) == (
        f"Ollama: this Ollama is 0.12.11, and {architecture} runs since {needed}; update Ollama, then run this again"
    )
