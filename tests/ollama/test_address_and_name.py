"""OLLAMA_HOST in all its forms, and what Ollama takes for a model's name."""

import pytest

from deepgguf.errors import UsageError
from deepgguf.ollama.address import server_address
from deepgguf.ollama.name import ModelName, parse_name

ADDRESSES = {
    "": "http://127.0.0.1:11434",
    "  ": "http://127.0.0.1:11434",
    ' "box" ': "http://box:11434",
    "'box:1234'": "http://box:1234",
    "192.168.1.5": "http://192.168.1.5:11434",
    "[::1]": "http://[::1]:11434",
    "::1": "http://[::1]:11434",
    "[::1]:1234": "http://[::1]:1234",
    "http://box": "http://box:80",
    "https://box": "https://box:443",
    "https://box:8443/prefix": "https://box:8443/prefix",
    "http://box/a/b/": "http://box:80/a/b",
    ":1234": "http://127.0.0.1:1234",
    "box:99999": "http://box:11434",
    "https://box:x": "https://box:443",
    "ollama.com": "https://ollama.com:443",
    "0.0.0.0": "http://127.0.0.1:11434",
    "0.0.0.0:1234": "http://127.0.0.1:1234",
    "[::]:1234": "http://[::1]:1234",
    "::": "http://[::1]:11434",
}


@pytest.mark.parametrize("given", ADDRESSES)
def test_the_address_is_the_one_that_ollamas_client_takes(given):
    assert str(server_address(given)) == ADDRESSES[given]


@pytest.mark.parametrize(
    ("given", "local"),
    [("", True), ("localhost:1", True), ("0.0.0.0", True), ("[::1]", True), ("box", False), ("10.0.0.1", False)],
)
def test_only_this_machine_is_local(given, local):
    assert server_address(given).is_local is local


NAMES = {
    "v3": ("registry.ollama.ai", "library", "v3", "latest", "v3"),
    "V3:Q4_K_M": ("registry.ollama.ai", "library", "V3", "Q4_K_M", "V3:Q4_K_M"),
    "me/v3.1": ("registry.ollama.ai", "me", "v3.1", "latest", "me/v3.1"),
    "hub.box:5000/me/v3:x": ("hub.box:5000", "me", "v3", "x", "hub.box:5000/me/v3:x"),
    "http://hub/me/v3": ("hub", "me", "v3", "latest", "hub/me/v3"),
    "_v3": ("registry.ollama.ai", "library", "_v3", "latest", "_v3"),
}


@pytest.mark.parametrize("given", NAMES)
def test_a_name_gets_ollamas_defaults(given):
    name = parse_name(given)
    assert (*name.parts, str(name)) == NAMES[given]


@pytest.mark.parametrize(
    "given",
    ["", "-v3", "v 3", "v3:", ":x", "a/b/c/d!", "me.too/v3", "v3:a:b", "x" * 81, "v3/", "/v3", "é", "../v3", "v3\n"],
)
def test_what_ollama_refuses_is_refused(given):
    with pytest.raises(UsageError, match="the model's name: "):
        parse_name(given)


def test_a_refusal_says_which_part_and_what_is_allowed():
    with pytest.raises(UsageError) as refused:
        parse_name("me/v 3")
    assert str(refused.value) == (
        "the model's name: Ollama refuses 'me/v 3'; its model 'v 3' must be letters, digits and any of _.-, at most 80, "
        "and begin with a letter, a digit or _"
    )


def test_names_are_one_whatever_their_case():
    known = [parse_name("Ocr-Test"), parse_name("Me/V3:Q4")]
    assert parse_name("ocr-test").spelled_as_in(known) == parse_name("Ocr-Test")
    assert parse_name("ocr-TEST").is_among(known)
    assert not parse_name("v3:q4").is_among(known)
    assert str(ModelName("Registry.Ollama.AI", "LIBRARY", "v3", "latest")) == "v3"
