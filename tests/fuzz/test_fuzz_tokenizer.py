"""A damaged tokenizer.json, tokenizer_config.json or generation_config.json: sound keys, or a CheckpointError."""

import contextlib
import json
import tempfile
from pathlib import Path

from damaged_json import damaged
from hypothesis import given, settings

from deepgguf.checkpoint.tokenizer import read_tokenizer
from deepgguf.errors import CheckpointError
from deepgguf.files.local import LocalFiles
from deepgguf.formats.gguf.encode import encode_header
from deepgguf.models.tokenizer_keys import llamacpp_tokenizer_keys, ollama_tokenizer_keys

SPLIT = {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated"}
TOKENIZER = {
    "added_tokens": [{"id": 0, "content": "<s>", "special": True}, {"id": 1, "content": "</s>", "special": False}],
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, {"type": "ByteLevel"}]},
    "model": {
        "type": "BPE",
        "vocab": {"<s>": 0, "a": 2, "b": 3, "ab": 4, "abb": 5, "Ġ": 6},
        "merges": [["a", "b"], "ab b"],
    },
}
TOKENIZER_CONFIG = {
    "bos_token": "<s>",
    "eos_token": {"content": "</s>", "lstrip": False},
    "add_bos_token": True,
    "chat_template": [{"name": "default", "template": "{{ x }}"}, {"name": "tools", "template": ""}],
}
GENERATION = {"bos_token_id": 0, "eos_token_id": [1, 2]}
FILES = {"tokenizer.json": TOKENIZER, "tokenizer_config.json": TOKENIZER_CONFIG, "generation_config.json": GENERATION}


def read(**texts: bytes) -> int:
    """Reads the files, of which `texts` replace some, and encodes their keys; the number of tokens."""
    with tempfile.TemporaryDirectory() as name:
        for file, content in FILES.items():
            text = texts.get(file.removesuffix(".json"), json.dumps(content).encode())
            (Path(name) / file).write_bytes(text)
        tokenizer, _ = read_tokenizer(LocalFiles(name), {})
    for keys in (llamacpp_tokenizer_keys(tokenizer, 64), ollama_tokenizer_keys(tokenizer, 64)):
        encode_header(keys, ())
        assert len(keys["tokenizer.ggml.tokens"].value) == 64
    return len(tokenizer.tokens)


@settings(max_examples=400, deadline=None)
@given(damaged(TOKENIZER))
def test_a_damaged_tokenizer_is_refused_or_becomes_keys(text):
    with contextlib.suppress(CheckpointError):
        read(tokenizer=text)


@settings(max_examples=200, deadline=None)
@given(damaged(TOKENIZER_CONFIG), damaged(GENERATION))
def test_damaged_configs_of_the_tokenizer_are_refused_or_become_keys(config, generation):
    with contextlib.suppress(CheckpointError):
        read(tokenizer_config=config, generation_config=generation)


def test_the_undamaged_tokenizer_is_read():
    assert read() == 7
