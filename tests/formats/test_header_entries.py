import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors_entries import Entry, header_entries, quick_entries, strict_entries

W = b'"w":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}'
ENTRY = Entry("U8", (8,), (0, 8))


def members(names: st.SearchStrategy[str], values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The text of an object in which names may repeat."""
    member = st.builds(lambda name, value: json.dumps(name).encode() + b":" + value, names, values)
    return st.lists(member, max_size=4).map(lambda found: b"{" + b",".join(found) + b"}")


TEXTS = st.sampled_from(['"U8"', '"a:b"', '"\\u0041"', '"\u00e4"', '""', "null", "{}"]).map(str.encode)
NUMBERS = st.sampled_from(["0", "8", "-0", "8.0", "8e0", "true", "9" * 41, "9" * 30, '"8"']).map(str.encode)
LISTS = st.lists(NUMBERS, min_size=1, max_size=2).map(lambda found: b"[" + b",".join(found) + b"]")
ENTRIES = members(st.sampled_from(["dtype", "shape", "data_offsets", "more"]), TEXTS | LISTS) | st.just(W[4:])
HEADERS = members(st.sampled_from(["w", "v", "", "a:b", "dtype", "\u00e4", "__metadata__"]), ENTRIES | TEXTS)


@settings(max_examples=1000, deadline=None)
@given(HEADERS)
def test_quick_entries_are_the_strict_ones_or_none(text):
    entries = quick_entries(text)
    if entries is not None:
        assert entries == strict_entries(text, "a")


@pytest.mark.parametrize(
    "text",
    [
        b"{" + W + b"}",
        b'{"__metadata__":{"format":"pt"},' + W + b"}  ",
        b'{"__metadata__":{"see":"https://x"},' + W + b"}",
    ],
)
def test_what_checkpoints_have_is_read_quickly(text):
    assert quick_entries(text) == {"w": ENTRY}


@pytest.mark.parametrize(
    "text",
    [
        b"{" + W + b"," + W + b"}",
        b'{"w":1,' + W + b"}",
        b'{"w":{"dtype":"U8","dtype":"U8","shape":[8],"data_offsets":[0,8]}}',
        b'{"__metadata__":{"a":"1","a":"2"},' + W + b"}",
        b'{"__metadata__":{},"__metadata__":{},' + W + b"}",
    ],
)
def test_a_name_that_appears_twice_is_refused(text):
    with pytest.raises(CheckpointError, match="appears twice in one object"):
        header_entries(text, "a")


@pytest.mark.parametrize("name", [b"a:b", b"\\u0061", "\u00e4".encode()])
def test_an_unusual_name_is_read(name):
    assert header_entries(b"{" + W.replace(b"w", name, 1) + b"}", "a") == {json.loads(b'"' + name + b'"'): ENTRY}
