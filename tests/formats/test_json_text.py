import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.errors import CheckpointError
from deepgguf.files.local import LocalFiles
from deepgguf.formats.json_text import MAX_VALUES, parse_json, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)


def refused(text: bytes) -> str:
    with pytest.raises(CheckpointError) as error:
        parse_json(text, "config.json")
    assert str(error.value).startswith("config.json: ")
    return error.value.found


@given(VALUES, st.booleans())
def test_what_json_writes_is_read_back(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert parse_json(text, "") == value


@pytest.mark.parametrize("text", [b'{"a": 1, "a": 1}', b'[{"x": {"a": 1, "b": 2, "a": 3}}]', b'{"a": 1, "\\u0061": 2}'])
def test_a_duplicate_key_is_refused_at_any_depth_and_in_any_spelling(text):
    assert refused(text) == "the key 'a' appears twice in one object"


def test_the_same_key_in_two_objects_is_not_a_duplicate():
    assert parse_json(b'[{"a": 1}, {"a": {"a": 2}}]', "") == [{"a": 1}, {"a": {"a": 2}}]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_python_s_extra_constants_are_refused(word):
    assert refused(f'{{"a": {word}}}'.encode()) == f"{word} is not a JSON number"


def test_a_number_too_large_for_a_double_is_refused_not_made_infinite():
    assert refused(b"[1e999]") == "the number 1e999 is too large"


def test_an_integer_of_40_digits_is_read_and_one_of_41_is_not():
    assert parse_json(b"9" * 40, "") == 10**40 - 1
    assert refused(b"[" + b"9" * 41 + b"]") == "a number of 41 characters, 999999999999…"


@pytest.mark.parametrize("number", [b"1" * 5000, b"-" + b"7" * 1_000_000, b"0." + b"3" * 5000, b"1" * 5000 + b"e5"])
def test_a_number_of_thousands_of_digits_is_refused(number):
    assert refused(b'{"a": [' + number + b"]}").startswith("a number of ")


def test_a_long_run_of_digits_in_a_string_is_not_a_number():
    assert parse_json(b'["' + b"1" * 5000 + b'", 2]', "") == ["1" * 5000, 2]


@pytest.mark.parametrize("text", [rb'["a\ud800"]', rb'{"\uDFFF": 1}', rb'["\udc00\ud800"]', rb'["\ud83d\u0041"]'])
def test_half_a_surrogate_pair_is_refused(text):
    assert refused(text) == "half of a surrogate pair in a string, which no UTF-8 text has"


def test_a_whole_surrogate_pair_is_one_character():
    assert parse_json(rb'["\ud83d\ude00", "\\ud800"]', "") == ["\U0001f600", "\\ud800"]


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_refused(opening, closing):
    assert refused(opening * 200_000 + b"1" + closing * 200_000) == "JSON nested too deeply"


def test_more_values_than_any_checkpoint_has_are_refused_before_they_take_memory():
    assert refused(b"[" + b"[]," * MAX_VALUES + b"[]]").startswith("more than 1,000,000 JSON values")


def test_bytes_that_are_not_utf8_are_refused_by_their_position():
    assert refused(b'{"a": "\xff"}') == "not UTF-8 at byte 7"


def test_a_byte_order_mark_is_refused():
    assert refused(b"\xef\xbb\xbf{}").startswith("begins with a byte order mark")


@pytest.mark.parametrize(
    ("text", "position"),
    [(b"", 0), (b"{", 1), (b"{} {}", 3), (b"[1 2]", 3), (b"{'a': 1}", 1), (b"[01]", 2)],
)
def test_what_is_not_json_is_refused_by_its_position(text, position):
    assert refused(text).startswith(f"not JSON at character {position}: ")


def test_a_git_lfs_pointer_is_called_one(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7847652\n"
    )
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: a Git-LFS pointer.*git lfs pull"):
        read_json(LocalFiles(tmp_path), "tokenizer.json", 1000)


def test_a_file_is_read_up_to_its_cap(tmp_path):
    (tmp_path / "config.json").write_bytes(b'{"a": 1}')
    assert read_json(LocalFiles(tmp_path), "config.json", 8) == {"a": 1}
    with pytest.raises(CheckpointError, match=r"^config\.json: 8 bytes, more than the 7 that are allowed"):
        read_json(LocalFiles(tmp_path), "config.json", 7)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"^config\.json: no such file"):
        read_json(LocalFiles(tmp_path), "config.json", 1000)
