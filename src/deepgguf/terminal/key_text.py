"""The value of a key in one line."""

from collections.abc import Sequence

from deepgguf.errors import printable
from deepgguf.formats.gguf.describe import KeyDescription

_LONGEST_VALUE = 120


def key_text(key: KeyDescription) -> str:
    """The value, printable; a long one is cut, and dots stand for the items of an array that are left out."""
    if isinstance(key.value, list):
        return _array(key.value, key.length or 0)
    return _item(key.value)


def _array(items: Sequence[object], length: int) -> str:
    """As many items as fit, and dots for the others."""
    shown: list[str] = []
    width = 0
    for item in map(_item, items):
        width += len(item) + 2
        if shown and width > _LONGEST_VALUE:
            break
        shown.append(item)
    if len(shown) < length:
        shown.append("…")
    return f"[{', '.join(shown)}]"


def _item(value: object) -> str:
    if isinstance(value, str):
        more = f"… ({len(value):,} characters)" if len(value) > _LONGEST_VALUE else ""
        return printable(repr(value[:_LONGEST_VALUE]), 10 * _LONGEST_VALUE) + more
    return f"{value:.9g}" if isinstance(value, float) else str(value)
