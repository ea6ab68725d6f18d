"""--card: README.md as publishers write it, and as huggingface_hub reads it."""

import shutil

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

import deepgguf
from deepgguf.cli import main
from hub_cache import as_snapshot

HEAD = """---
license: other
license_name: deepseek
license_link: LICENSE-MODEL
language: [en, zh]
pipeline_tag: text-generation
tags: [transformers, moe]
---
"""


@pytest.fixture
def source(checkpoint, tmp_path):
    """A checkpoint with a card in the Hub's cache."""
    folder = tmp_path / "hub" / "V3"
    shutil.copytree(checkpoint("v3-fp8"), folder)
    (folder / "README.md").write_text(HEAD)
    return as_snapshot(folder)


@pytest.fixture
def out(tmp_path):
    (tmp_path / "V3-GGUF").mkdir()
    return tmp_path / "V3-GGUF"


def convert(source, out, *more: str) -> int:
    return main(["convert", str(source), "-o", f"{out}/", "--target", "llama.cpp", "--card", *more])


def test_the_head_says_what_the_hub_asks_for(source, out):
    assert convert(source, out, "--type", "q4_k_m", "--published-as", "me/V3-GGUF") == 0
    assert metadata_load(out / "README.md") == {
        "base_model": "deepseek-ai/DeepSeek-V3",
        "base_model_relation": "quantized",
        "quantized_by": "me",
        "license": "other",
        "license_name": "deepseek",
        "license_link": "LICENSE-MODEL",
        "language": ["en", "zh"],
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "tags": ["gguf", "deepgguf", "moe"],
    }


def test_huggingface_hub_takes_the_card_as_it_is(source, out):
    convert(source, out, "--type", "q4_k_m")
    card = ModelCard.load(out / "README.md", ignore_metadata_errors=False)
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict() == metadata_load(out / "README.md")
    assert (card.data.license, card.data.base_model) == ("other", "deepseek-ai/DeepSeek-V3")


def test_the_card_has_sizes_errors_hashes_and_commands(source, out, capsys):
    convert(source, out, "--type", "q4_k_m", "--report-error", "--published-as", "me/V3-GGUF")
    text = (out / "README.md").read_text()
    (file,) = out.glob("*.gguf")
    checked = deepgguf.verify(file, sha256=True).files[0]
    bits = deepgguf.inspect(file).bits_per_weight
    row = f"| {file.name} | 2.36 MB | {bits:.2f} | 6.510% | `{checked.sha256}` |"
    assert row in text.splitlines()
    for line in (
        "llama-cli -hf me/V3-GGUF:Q4_K_M",
        "ollama run hf.co/me/V3-GGUF:Q4_K_M",
        f"deepgguf convert {source} -o {out}/ --target llama.cpp --card --type q4_k_m --report-error --published-as "
        "me/V3-GGUF",
        f"deepgguf verify {file.name} hf:deepseek-ai/DeepSeek-V3@e815299b",
    ):
        assert f"\n{line}\n```" in text


def test_a_second_type_is_added_and_a_removed_file_is_not_kept(source, out):
    for type in ("bf16", "q8_0"):
        convert(source, out, "--type", type, "--published-as", "me/V3-GGUF")
    assert (out / "README.md").read_text().count("llama-cli -hf") == 2
    next(out.glob("*-BF16.gguf")).unlink()
    convert(source, out, "--type", "q2_k")
    text = (out / "README.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("llama-cli")] == [
        "llama-cli -hf me/V3-GGUF:Q8_0",
        "llama-cli -hf me/V3-GGUF:Q2_K",
    ]


def test_ollama_is_not_sent_to_fetch_a_split_set(source, out):
    convert(source, out, "--split-max-size", "2M", "--published-as", "me/V3-GGUF")
    text = (out / "README.md").read_text()
    assert "llama-cli -hf me/V3-GGUF:BF16\n" in text
    assert "ollama run" not in text


@pytest.mark.parametrize("change", ["written by hand", "changed"])
def test_a_readme_that_is_not_ours_stays(source, out, capsys, change):
    if change == "changed":
        convert(source, out, "--type", "bf16")
        (out / "README.md").write_text((out / "README.md").read_text().replace("# ", "# My "))
    else:
        (out / "README.md").write_text("# mine\n")
    there, text = sorted(out.iterdir()), (out / "README.md").read_text()
    capsys.readouterr()
    assert convert(source, out, "--type", "q8_0") == 2
    assert capsys.readouterr().err == (
        f"deepgguf: {out}/README.md: exists, and either deepgguf did not write it or it has been changed since; move it away\n"
    )
    assert (sorted(out.iterdir()), (out / "README.md").read_text()) == (there, text)


def test_a_name_is_no_markup_in_the_card(checkpoint, tmp_path, out):
    source = tmp_path / "V3"
    shutil.copytree(checkpoint("v2-lite"), source)
    name = "'a|b](http://x) <img src=x onerror=1> -->'"
    (source / "README.md").write_text(f'---\nname: {name}\nlicense_name: "--- x"\n---\n')
    convert(source, out)
    text = (out / "README.md").read_text()
    assert "# a\\|b\\](http://x) \\<img src=x onerror=1\\> --\\> GGUF\n" in text
    assert text.count("-->") == 1
    assert metadata_load(out / "README.md")["license_name"] == "--- x"


def test_what_the_checkpoint_does_not_say_is_asked_for(checkpoint, out, capsys):
    source = checkpoint("v2-lite")
    assert convert(source, out) == 0
    assert capsys.readouterr().err == (
        f"deepgguf: {out}/README.md: its head has no base_model; say which model it is of: --base-model "
        "ORGANIZATION/NAME\n"
        f"deepgguf: {out}/README.md: its head has no license; the checkpoint's own card names none\n"
    )
    assert convert(source, out, "--overwrite", "--base-model", "deepseek-ai/DeepSeek-V2-Lite") == 0
    assert metadata_load(out / "README.md")["base_model"] == "deepseek-ai/DeepSeek-V2-Lite"


def test_a_card_of_a_quantized_gguf_file_says_what_its_keys_say(source, out, tmp_path):
    deepgguf.convert(source, tmp_path / "V3-BF16.gguf", target="llama.cpp")
    assert main(["quantize", str(tmp_path / "V3-BF16.gguf"), "--type", "q8_0", "-o", f"{out}/", "--card"]) == 0
    head = metadata_load(out / "README.md")
    assert (head["base_model"], head["license"], head["language"]) == ("deepseek-ai/DeepSeek-V3", "other", ["en", "zh"])


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--base-model", "a/b/c"], "--base-model: 'a/b/c' is not a repository; write ORGANIZATION/NAME"),
        (["--published-as", "me"], "--published-as: 'me' is not a repository; write ORGANIZATION/NAME"),
        (["--ollama", "v3"], "--card contradicts --ollama: a card goes beside the files"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused_before_the_work(source, out, capsys, more, complaint):
    assert convert(source, out, *more) == 2
    assert complaint in capsys.readouterr().err
    assert list(out.iterdir()) == []
