"""llama.cpp's server makes the same prompts of the bundled templates, and reads answers to them."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from deepgguf import convert
from deepgguf.models.bundled_templates import V32
from engine import CHOSEN, GOLDENS, SAMPLING, serve
from prompts import CALLS, CHAT, PROMPTS, TOOLS
from v4 import NARROW, v4_weights, with_the_releases_tokenizer, write_v4

BOS, EOS = "<｜begin▁of▁sentence｜>", 1
ONE = {"max_tokens": 1, **SAMPLING}
MODELS = {"v4": "v4", "v4-dspark": "v4", "v32-bf16": "v32"}


@pytest.fixture(scope="module")
def model(checkpoint, tmp_path_factory):
    """`model(name)`: the file of a sample; those of V3.2 have V3's tokenizer, which no bundled template fits."""
    folder, made = tmp_path_factory.mktemp("models"), {}
    (folder / "v32.jinja").write_text(V32.text, encoding="utf-8")

    def find(name: str) -> Path:
        if name not in made:
            made[name] = folder / f"{name}.gguf"
            choices = {"chat_template": folder / "v32.jinja"} if name.startswith("v32") else {}
            convert(checkpoint(name), made[name], target="llama.cpp", **choices)
        return made[name]

    return find


def as_sent(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Arguments of calls are JSON within JSON in OpenAI's protocol."""
    messages = copy.deepcopy(messages)
    for call in (call for message in messages for call in message.get("tool_calls", ())):
        call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
    return messages


def chat(messages: list[dict[str, Any]], *, thinking: bool, **others: object) -> tuple[str, dict[str, Any]]:
    body = {"messages": as_sent(messages), "chat_template_kwargs": {"enable_thinking": thinking}}
    return "handle_chat_completions", body | ONE | others


def made_of(answer: dict[str, Any]) -> str:
    assert "choices" in answer, answer
    return answer["__verbose"]["prompt"]


CASES = [(thinking, tools) for thinking in (True, False) for tools in (TOOLS, [])]


@pytest.mark.parametrize("name", ["v4", "v4-dspark"])
def test_a_chat_is_the_prompt_that_v4_learned(name, model):
    requests = [chat(CHAT, thinking=thinking, tools=tools) for thinking, tools in CASES]
    found = [made_of(answer) for answer in serve(model(name), requests, n_ctx=4096, verbose=True)]
    assert found == [BOS + PROMPTS["v4", thinking, bool(tools)] for thinking, tools in CASES]


def test_a_chat_is_the_prompt_that_v32_learned(model):
    """Up to a question: b11549 cannot read what V3.2 answers after the results of tools, by llama.cpp's template either."""
    requests = [chat(CHAT[:4], thinking=thinking, tools=tools) for thinking, tools in CASES]
    found = [made_of(answer) for answer in serve(model("v32-bf16"), requests, n_ctx=4096, verbose=True)]
    asked = [PROMPTS["v32", thinking, bool(tools)].partition("weather?")[0] for thinking, tools in CASES]
    ends = ["<think>" if thinking else "<think></think>" for thinking, _ in CASES]
    assert found == [f"{BOS}{text}weather?<｜Assistant｜>{end}" for text, end in zip(asked, ends, strict=True)]


@pytest.mark.parametrize("name", MODELS)
def test_thoughts_and_the_answer_are_told_apart(name, model):
    requests = [chat(CHAT[:2], thinking=thinking) for thinking in (True, False)]
    messages = [answer["choices"][0]["message"] for answer in serve(model(name), requests)]
    assert messages == [
        {"role": "assistant", "content": "", "reasoning_content": "9"},
        {"role": "assistant", "content": "9"},
    ]


@pytest.mark.parametrize("name", MODELS)
def test_calls_of_tools_are_read_from_the_answer(name, model):
    """The answer is begun by the caller and ended by the model, as these models call nothing by themselves."""
    begun = {"role": "assistant", "content": CALLS[MODELS[name]]}
    end = {"logit_bias": [[CHOSEN, 0], [EOS, 10_000]]}
    (answer,) = serve(model(name), [chat([*CHAT[:4], begun], thinking=False, tools=TOOLS, **end)], n_ctx=4096)
    calls = [call["function"] for call in answer["choices"][0]["message"]["tool_calls"]]
    expected = [call["function"] for call in CHAT[4]["tool_calls"]]
    assert [call | {"arguments": json.loads(call["arguments"])} for call in calls] == expected


def test_texts_become_the_ids_that_they_are_to_deepseek_v4(tmp_path):
    source = write_v4(tmp_path / "v4", "v4", NARROW, v4_weights("v4", NARROW))
    convert(with_the_releases_tokenizer(source), tmp_path / "v4.gguf", target="llama.cpp")
    texts = json.loads((GOLDENS / "v32v4" / "v4-realtok-tokens.json").read_text(encoding="utf-8"))
    texts = [text for text in texts if text["ids"]]  # nothing follows an empty text
    one = {"max_tokens": 1, "logprobs": 5, **SAMPLING, "logit_bias": [[texts[0]["ids"][0], 10_000]]}
    requests = [("handle_completions", {"prompt": form, **one}) for t in texts for form in (t["text"], t["ids"])]
    found = [
        (answer["usage"]["prompt_tokens"], answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"])
        for answer in serve(tmp_path / "v4.gguf", requests)
    ]
    assert len(texts) == 29
    assert found[::2] == found[1::2]
    assert [tokens for tokens, _ in found[::2]] == [len(text["ids"]) for text in texts]
