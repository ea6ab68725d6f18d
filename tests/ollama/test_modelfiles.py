"""Modelfiles: read as Ollama reads them, written so that they read back."""

import pytest

from deepgguf.errors import UsageError
from deepgguf.ollama.modelfile import Modelfile, parse_modelfile

EVERYTHING = Modelfile(
    template="{{ .Prompt }}",
    system=" You are\nhelpful. ",
    renderer="deepseek3.1",
    parser="deepseek3",
    requires="0.30.0",
    parameters={"temperature": 0.6, "num_ctx": 8192, "stop": ["<a>", "b c"], "use_mmap": False},
    licenses=("MIT License\n\nCopyright", "another"),
    messages=(("user", "hi"), ("assistant", "two\nlines")),
)


def test_what_is_written_is_read_back():
    text = EVERYTHING.text(["./a b.gguf", "./mmproj.gguf"], ["why"])
    assert text.startswith("# why\nFROM ./a b.gguf\nFROM ./mmproj.gguf\nTEMPLATE {{ .Prompt }}\n")
    assert parse_modelfile(text, "Modelfile") == EVERYTHING


def test_it_is_read_as_ollama_reads_it():
    text = """
    # a comment
    from ./x.gguf
    Parameter temperature 1
    PARAMETER stop "<|a|>"
    PARAMETER stop b
    SYSTEM \"\"\"one
      two\"\"\"
    TEMPLATE "a { b"
    MESSAGE user what is "this"?
    REQUIRES v0.14.0
    """
    assert parse_modelfile(text, "Modelfile") == Modelfile(
        template="a { b",
        system="one\n      two",
        requires="0.14.0",
        parameters={"temperature": 1.0, "stop": ["<|a|>", "b"]},
        messages=(("user", 'what is "this"?'),),
    )


REFUSED = {
    "FOO bar": "Modelfile, line 1: 'foo' is not a command; use ADAPTER, ",
    "FROM x\nPARAMETER foo 1": "Modelfile, line 2: unknown parameter 'foo'; use one of ",
    "PARAMETER temperature warm": "Modelfile, line 1: temperature cannot be 'warm'; ",
    "PARAMETER use_mmap yes": "Modelfile, line 1: use_mmap cannot be 'yes'; ",
    "MESSAGE robot hi": "Modelfile, line 1: 'robot' is not a role of a message; use one of system, user, assistant",
    'SYSTEM """never closed': "Modelfile, line 1: a quotation mark is never closed; close it",
    "ADAPTER ./lora": "Modelfile, line 1: ADAPTER is for `ollama create` only; leave it out here",
    "REQUIRES soon": "Modelfile, line 1: 'soon' is not a version; give one such as 0.30.0",
    "PARSER deepseek3": "Modelfile: has PARSER alone, and chats would lose their roles; give RENDERER and PARSER",
    "RENDERER deepseek3.1": "Modelfile: has RENDERER alone, and chats would lose their roles; give RENDERER and PARSER",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_ollama_refuses_or_misunderstands_is_refused(text):
    with pytest.raises(UsageError) as refused:
        parse_modelfile(text, "Modelfile")
    assert str(refused.value).startswith(REFUSED[text])
