"""JSON that was good, damaged by structure and by bytes."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

from deepgguf.formats.safetensors import DTYPE_BITS

NAMES = ["model-00001-of-00002.safetensors", "BPE", "Split", "yarn", "fp8", "noaux_tc", "<s>", "a b"]
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64 - 1, 2**64, 10**29]) | st.integers() | st.floats()
WORDS = (
    st.sampled_from(["", "..", "../x", "/etc/passwd", "\0", "\x1b[2J", "\u202e", "\ud800", *DTYPE_BITS, *NAMES])
    | st.text()
)
LEAVES = st.none() | st.booleans() | NUMBERS | WORDS
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=6) | st.dictionaries(WORDS, v, max_size=4), max_leaves=12)

Place = tuple[Any, ...]


def places(value: object, here: Place = ()) -> Iterator[Place]:
    """The path to every value within `value`."""
    yield here
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*here, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from places(inner, (*here, i))


def with_value(value: Any, place: Place, new: Callable[[Any, Any], Any]) -> Any:
    """A copy of `value` whose container at `place[:-1]` went through `new(container, key)`."""
    if len(place) == 1:
        return new(value.copy(), place[0])
    copy = value.copy()
    copy[place[0]] = with_value(value[place[0]], place[1:], new)
    return copy


def replaced(by: object) -> Callable[[Any, Any], Any]:
    def change(container: Any, key: Any) -> Any:
        container[key] = by
        return container

    return change


def removed(container: Any, key: Any) -> Any:
    del container[key]
    return container


def renamed(to: str) -> Callable[[Any, Any], Any]:
    def change(container: Any, key: Any) -> Any:
        container.insert(0, to) if isinstance(container, list) else container.__setitem__(to, container.pop(key))
        return container

    return change


@st.composite
def damaged(draw: st.DrawFn, good: object) -> bytes:
    """The text of `good` after up to four changes of its structure and up to two of its bytes."""
    value = good
    for _ in range(draw(st.integers(0, 4))):
        inner = [place for place in places(value) if place]
        if inner:
            change = draw(st.one_of(st.builds(replaced, VALUES), st.just(removed), st.builds(renamed, WORDS)))
            value = with_value(value, draw(st.sampled_from(inner)), change)
    text = bytearray(json.dumps(value).encode())
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 8)))
        text[start:stop] = draw(
            st.binary(max_size=8) | st.sampled_from([b"[" * 5000, b"9" * 5000, b"NaN", b"\xef\xbb\xbf"])
        )
    return bytes(text)
