"""Which chat template a file gets: the chosen one, else the checkpoint's, else the one that fits what the model is."""

import json
from pathlib import Path

import pytest

from deepgguf import CheckpointError, UsageError, compare, convert, plan
from deepgguf.cli import main
from deepgguf.models.bundled_templates import V4, V4_0731, V32
from deepgguf.samples.make import TOKENIZERS
from tiny_checkpoint import V3, weights, write_checkpoint

KEY = "tokenizer.chat_template"
NONE = (
    "the file has no chat template, so that engines take one of another model: to chat, give the original model's with "
    "`chat_template`; base models have none"
)


@pytest.fixture
def v3(tmp_path) -> Path:
    """A DeepSeek-V3 with a template of its own, and another for tools."""
    source = write_checkpoint(tmp_path / "v3", V3, weights(V3))
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("T")
    return source


def templates(source: Path, **choices: object) -> dict[str, object]:
    keys = plan(source, **choices).files[0].keys
    return {name: value.value for name, value in keys.items() if name.startswith(KEY)}


def copy_of(source: Path, folder: Path, **changes: str) -> Path:
    """The checkpoint in another folder, with the text of some files changed."""
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for name, text in changes.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize(
    ("name", "template"),
    [("v4", V4), ("v4-base", V4), ("v4-hf", V4), ("v4-dspark", V4_0731), ("v4-vision", V4_0731)],
)
def test_v4_has_the_template_of_what_it_is_whatever_its_folder_is_called(name, template, target, checkpoint, tmp_path):
    folder = copy_of(checkpoint(name), tmp_path / ("DeepSeek-V4-Flash-0731" if template is V4 else "DeepSeek-V4"))
    assert templates(folder, target=target) == {KEY: template.text}
    assert NONE not in plan(folder, target=target).warnings


def test_v32_has_its_template_where_the_tokenizer_has_the_tokens(checkpoint, tmp_path):
    folder = copy_of(checkpoint("v32-bf16"), tmp_path / "v32")
    for file in (TOKENIZERS / "sample-v4").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert templates(folder) == {KEY: V32.text}


def test_a_template_whose_tokens_the_tokenizer_lacks_is_not_written(checkpoint, tmp_path):
    content = json.loads((checkpoint("v4") / "tokenizer.json").read_text(encoding="utf-8"))
    for token in content["added_tokens"]:
        token["content"] = token["content"].replace("DSML", "XML")
    folder = copy_of(checkpoint("v4"), tmp_path / "v4", **{"tokenizer.json": json.dumps(content)})
    assert templates(folder) == {}
    assert plan(folder).warnings == (NONE,)


def test_a_template_in_the_checkpoint_goes_before_the_bundled_one(checkpoint, tmp_path):
    folder = copy_of(checkpoint("v4"), tmp_path / "v4", **{"chat_template.jinja": "{{ own }}"})
    assert templates(folder) == {KEY: "{{ own }}"}


def test_a_chosen_template_goes_before_all_that_the_checkpoint_has(v3, tmp_path):
    assert len(templates(v3)) == 3
    (tmp_path / "mine.jinja").write_text("{{ mine }} ü\n", encoding="utf-8")
    assert templates(v3, chat_template=tmp_path / "mine.jinja") == {KEY: "{{ mine }} ü\n"}


def test_a_file_with_a_chosen_template_is_verified_as_it_was_chosen(v3, tmp_path):
    (tmp_path / "mine.jinja").write_text("{{ mine }}")
    convert(v3, tmp_path / "x.gguf", chat_template=tmp_path / "mine.jinja")
    assert KEY in {d.where.removeprefix("key ") for d in compare(tmp_path / "x.gguf", v3).differences}
    assert compare(tmp_path / "x.gguf", v3, chat_template=tmp_path / "mine.jinja").differences == ()


def test_the_command_line_has_the_choice_and_says_so(v3, tmp_path, capsys):
    (tmp_path / "mine.jinja").write_text("{{ mine")
    assert main(["plan", str(v3), "--chat-template", str(tmp_path / "mine.jinja")]) == 0
    assert "the chat template is not Jinja that an engine can read" in " ".join(capsys.readouterr().out.split())
    (v3 / "tokenizer_config.json").write_text("{}")
    (v3 / "additional_chat_templates" / "tool_use.jinja").unlink()
    assert main(["plan", str(v3)]) == 0
    assert "to chat, give the original model's with --chat-template" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("content", "error", "found"),
    [
        (None, UsageError, "no such file; give the path of a chat template"),
        (b" \n", UsageError, "is empty, expected a chat template in Jinja"),
        (b"\xff", CheckpointError, "not UTF-8 at byte 0"),
    ],
)
def test_a_file_that_is_no_template_is_refused(v3, tmp_path, content, error, found):
    path = tmp_path / "mine.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=found):
        plan(v3, chat_template=path)
