"""What the bundled templates make of a chat, against prompts written by hand from DeepSeek's encoding programs.

Rendered by Jinja as transformers sets it up (utils/chat_template_utils.py); tests/engine/test_bundled_prompts.py has
llama.cpp render the same.
"""

import json

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deepgguf.checkpoint.chat_template import broken_template
from deepgguf.models.bundled_templates import OCR, V4, V4_0731, V32, BundledTemplate
from prompts import ABSOLUTE, BEYOND, CHAT, PROMPTS, TOOLS, V4_TOOLS, V32_TOOLS

BOS = "<｜begin▁of▁sentence｜>"
WORDS = ("thinking", "enable_thinking")
TEMPLATES = {"v32": V32, "v4": V4, "v4-0731": V4_0731}


class RefusedError(Exception):
    pass


def refuse(message: str) -> None:
    raise RefusedError(message)


def render(template: BundledTemplate, messages: list[dict], **variables: object) -> str:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    return environment.from_string(template.text).render(messages=messages, bos_token=BOS, **variables)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("tools", [TOOLS, None])
def test_a_chat_of_four_turns_is_the_prompt_that_deepseek_encodes(name, thinking, tools):
    found = render(TEMPLATES[name], CHAT, tools=tools, enable_thinking=thinking, add_generation_prompt=True)
    assert found == BOS + PROMPTS[name.removesuffix("-0731"), thinking, bool(tools)]


@pytest.mark.parametrize("name", TEMPLATES)
def test_deepseeks_own_name_of_the_choice_is_understood(name):
    found = [render(TEMPLATES[name], CHAT, add_generation_prompt=True, **{word: True}) for word in WORDS]
    assert found[0] == found[1] == BOS + PROMPTS[name.removesuffix("-0731"), True, False]


@pytest.mark.parametrize(("name", "tools"), [("v32", V32_TOOLS), ("v4", V4_TOOLS)])
def test_tools_without_a_system_message_stand_where_it_would(name, tools):
    assert render(TEMPLATES[name], CHAT[1:2], tools=TOOLS) == f"{BOS}\n\n{tools}<｜User｜>hi"


def test_without_thoughts_v32_begins_with_none_of_them_as_llamacpps_server_reads_its_answers():
    """DeepSeek's program has a bare </think>, as it stays in later turns; the server would take it for the answer's."""
    prompt = f"{BOS}<｜User｜>hi<｜Assistant｜>"
    assert render(V32, CHAT[1:2], add_generation_prompt=True) == f"{prompt}<think></think>"
    assert render(V32, CHAT[1:3]) == f"{prompt}</think>Hello.<｜end▁of▁sentence｜>"


@pytest.mark.parametrize("name", TEMPLATES)
def test_without_a_generation_prompt_nothing_is_begun(name):
    assert render(TEMPLATES[name], CHAT[:2]) == f"{BOS}Be brief.<｜User｜>hi"


@pytest.mark.parametrize(
    ("name", "effort", "expected"),
    [
        ("v4", "high", ""),
        ("v4", "max", ABSOLUTE),
        ("v4-0731", "low", ""),
        ("v4-0731", "high", ABSOLUTE),
        ("v4-0731", "max", BEYOND),
    ],
)
def test_how_hard_to_think_is_said_first_and_means_another_thing_since_0731(name, effort, expected):
    words = {"reasoning_effort": effort, "add_generation_prompt": True}
    assert render(TEMPLATES[name], CHAT[:2], enable_thinking=True, **words) == (
        f"{BOS}{expected}Be brief.<｜User｜>hi<｜Assistant｜><think>"
    )
    assert render(TEMPLATES[name], CHAT[:2], enable_thinking=False, **words) == (
        f"{BOS}Be brief.<｜User｜>hi<｜Assistant｜></think>"
    )


def test_a_schema_for_the_answer_is_the_last_of_the_system_message():
    found = render(V4, CHAT[:2], response_format={"type": "object"})
    schema = '## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n{"type": "object"}'
    assert found == f"{BOS}Be brief.\n\n{schema}<｜User｜>hi"


def test_v4_keeps_earlier_thoughts_if_told_to():
    chat = CHAT[1:4]
    assert render(V4, chat, thinking=True, drop_thinking=False) == (
        f"{BOS}<｜User｜>hi<｜Assistant｜><think>A greeting.</think>Hello.<｜end▁of▁sentence｜><｜User｜>weather?"
    )
    assert "A greeting." not in render(V4, chat, thinking=True)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_role_that_the_model_does_not_know_is_refused(name):
    with pytest.raises(RefusedError, match="a message has the role critic, expected system, user, assistant or tool"):
        render(TEMPLATES[name], [{"role": "critic", "content": "no"}])


def test_deepseek_ocr_takes_the_text_alone():
    assert render(OCR, [{"role": "user", "content": "<image>\nFree OCR."}]) == "<image>\nFree OCR."


@pytest.mark.parametrize("template", [V32, V4, V4_0731, OCR])
def test_engines_can_read_every_template(template):
    assert broken_template(template.text) is None
