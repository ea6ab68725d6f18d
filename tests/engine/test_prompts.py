"""F2, F3: what stands in other files than usual reaches the engine: prompts become the tokens that the original's become."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deepgguf import convert
from engine import SAMPLING, serve

BOS = "<｜begin▁of▁sentence｜>"
TEXT = "hello  world\n\n\n  x"
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("handle_completions", {"prompt": TEXT, "max_tokens": 1, "logprobs": 5, **SAMPLING}),
    (
        "handle_chat_completions",
        {
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": 5,
            **SAMPLING,
        },
    ),
]


def edit(path: Path, change: Callable[[dict], object]) -> dict:
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    change(content)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return content


def ids_in_config(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", lambda c: [c.pop(name) for name in ("bos_token", "eos_token", "pad_token")])


def bos_by_the_template(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", lambda c: [c.pop(name) for name in ("add_bos_token", "tokenizer_class")])
    single = [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    processor = {"type": "TemplateProcessing", "single": single}
    edit(folder / "tokenizer.json", lambda t: t.update(post_processor=processor))


def template_in_json(folder: Path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    edit(folder / "chat_template.json", lambda c: c.update(chat_template=config["chat_template"]))
    edit(folder / "tokenizer_config.json", lambda c: c.pop("chat_template"))


def resaved(folder: Path) -> None:
    """By transformers 5.0 to 5.10."""
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
    edit(folder / "tokenizer.json", lambda t: t.update(pre_tokenizer=metaspace))
    edit(
        folder / "tokenizer_config.json",
        lambda c: [c.pop("add_bos_token"), c.pop("add_eos_token"), c.update(tokenizer_class="LlamaTokenizer")],
    )


def answers(source: Path, file: Path) -> list[tuple[int, object]]:
    """Of both requests: how many tokens the prompt became, and the log-probabilities of what follows them."""
    convert(source, file, target="llama.cpp")
    found = []
    for answer in serve(file, REQUESTS):
        assert "choices" in answer, answer
        steps = answer["choices"][0]["logprobs"]["content"]
        found.append((answer["usage"]["prompt_tokens"], [step["top_logprobs"] for step in steps]))
    return found


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("v3-bf16", ids_in_config),
        ("v3-bf16", bos_by_the_template),
        ("v3-bf16", template_in_json),
        ("v2-lite", resaved),
    ],
)
def test_f2_f3_prompts_become_the_tokens_that_the_originals_become(name, change, checkpoint, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(checkpoint(name), folder)
    change(folder)
    mended = answers(folder, tmp_path / "mended.gguf")
    assert mended == answers(checkpoint(name), tmp_path / "original.gguf")
    assert mended[0][0] == {"v3-bf16": 15, "v2-lite": 16}[name]  # BOS among them
