"""PATTERN=TYPE as llama-quantize reads it."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.recipes.patterns import TypePattern, first_match, parse_tensor_type, parse_type


def test_a_pattern_and_its_type_are_split_at_the_first_equals_sign():
    assert parse_tensor_type("ffn_down=q6_K") == TypePattern("ffn_down", GGMLType.Q6_K)


def test_a_pattern_is_lower_cased():
    assert parse_tensor_type("FFN_Down=Q8_0").pattern == "ffn_down"


def test_a_pattern_is_found_anywhere_in_the_name():
    assert parse_tensor_type("down=q8_0").matches("blk.3.ffn_down_exps.weight")


def test_an_anchored_pattern_is_not_found_inside():
    assert not parse_tensor_type("^down=q8_0").matches("blk.3.ffn_down_exps.weight")


@pytest.mark.parametrize(
    ("pattern", "layers"),
    [
        (r"blk\.[3-5]\.", [3, 4, 5]),
        (r"blk\.(0|10)\.", [0, 10]),
        (r"blk\.\d\d\.", [10, 11]),
        (r"blk\.1.?\.", [1, 10, 11]),
    ],
)
def test_patterns_select_layers(pattern, layers):
    parsed = parse_tensor_type(f"{pattern}=q8_0")
    assert [i for i in range(12) if parsed.matches(f"blk.{i}.ffn_up.weight")] == layers


def test_the_first_matching_pattern_counts():
    patterns = [TypePattern("attn", GGMLType.Q8_0), TypePattern("up", GGMLType.Q4_K), TypePattern("ffn", GGMLType.F16)]
    assert first_match(patterns, "blk.0.ffn_up.weight") is patterns[1]
    assert first_match(patterns, "token_embd.weight") is None


@pytest.mark.parametrize("option", ["", "ffn_up", "=q8_0", "ffn_up=", "ffn_up=q9_0", "ffn_up=q8_1", "(=q8_0", "a{=q"])
def test_what_is_not_a_pattern_and_a_type_is_a_usage_error(option):
    with pytest.raises(UsageError):
        parse_tensor_type(option)


@pytest.mark.parametrize(
    "pattern",
    [r"(?i)up", "(?P<x>up)", "(?<=ffn_)up", "[[:alpha:]]up", "[]up", "[^]up]", "u++p", r"\aup", r"\Aup", r"blk\.\D+"],
)
def test_what_python_and_cpp_read_differently_is_refused(pattern):
    with pytest.raises(UsageError, match=r"differently|lower case"):
        parse_tensor_type(f"{pattern}=q8_0")


@pytest.mark.parametrize(
    "pattern", [r"\d+", r"a\.b", r"(?:up|down)", r"up(?!_exps)", r"[a-z]+", r"\w\s\b", r"a{2}", r"\\"]
)
def test_what_both_read_alike_is_accepted(pattern):
    assert parse_tensor_type(f"{pattern}=q8_0").pattern == pattern


def test_types_are_named_in_any_case():
    assert [parse_type(name) for name in ("q4_K", "IQ4_NL", "bf16", "mxfp4")] == [
        GGMLType.Q4_K,
        GGMLType.IQ4_NL,
        GGMLType.BF16,
        GGMLType.MXFP4,
    ]


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        parsed = parse_tensor_type(text)
    except UsageError:
        return
    assert not any(c in string.ascii_uppercase for c in parsed.pattern)
    assert parsed.matches("blk.0.ffn_up.weight") in (True, False)
