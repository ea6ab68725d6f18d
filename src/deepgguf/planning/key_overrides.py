"""Keys that the user sets: KEY=TYPE:VALUE, as llama-quantize reads them (common.cpp, string_parse_kv_override)."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np

from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import Value, ValueType

_CHOICE = "`override_kv`"
_LONGEST = 127  # bytes of a key, and of a text (llama.h, llama_model_kv_override)
_FORM = "write for instance general.name=str:Mine"
_FIXED = ("general.architecture", "general.alignment", "split.")

_WHOLE = "a whole number"
_KINDS = {
    ValueType.FLOAT32: "a fraction",
    ValueType.FLOAT64: "a fraction",
    ValueType.BOOL: "true or false",
    ValueType.STRING: "text",
    ValueType.ARRAY: "a list",
}


class KeyOverride(msgspec.Struct, frozen=True):
    """A key and the value that it is to have; `negative` if a number below 0 was given, whose sign is lost."""

    key: str
    value: Value
    negative: bool = False


def parse_override(option: str) -> KeyOverride:
    """Reads `KEY=TYPE:VALUE`: a whole number becomes a UINT32, without its sign as llama-quantize has it.

    UsageError for what is not of this form, does not fit, or is a key that the file's layout follows.
    """
    key, equals, typed = option.partition("=")
    type, colon, text = typed.partition(":")
    if not (key and equals and colon):
        raise UsageError(_CHOICE, f"{option!r} is not of the form KEY=TYPE:VALUE", _FORM)
    if type not in _PARSERS:
        raise UsageError(_CHOICE, f"{key}: {type!r} is not a type", f"choose from {', '.join(_PARSERS)}")
    parse, wanted = _PARSERS[type]
    if is_fixed(key):
        raise UsageError(_CHOICE, f"{key} cannot be set: the file's layout follows it", "leave it out")
    if len(key.encode(errors="replace")) > _LONGEST or not key.isprintable():
        raise UsageError(_CHOICE, f"{key!r} is not a key of at most {_LONGEST} printable bytes", _FORM)
    try:
        value = parse(text)
    except (ValueError, KeyError):
        raise UsageError(_CHOICE, f"{key}: {text!r} is not {wanted}", _FORM) from None
    return KeyOverride(key, value, negative=type == "int" and text.strip().startswith("-") and value.value != 0)


def is_fixed(key: str) -> bool:
    """Whether the layout of the file, or the names of other keys, follow from the key."""
    return key.startswith(_FIXED)


def parse_overrides(options: str | Sequence[str]) -> tuple[KeyOverride, ...]:
    """One or several overrides; errors are those of `parse_override`."""
    return tuple(parse_override(option) for option in ([options] if isinstance(options, str) else options))


def overridden(keys: Mapping[str, Value], overrides: Iterable[KeyOverride]) -> dict[str, Value]:
    """The keys with the values that were given; keys that are new come last.

    UsageError for a value of another kind than the key has: no engine would load the file.
    """
    changed = dict(keys)
    for override in overrides:
        before = changed.get(override.key)
        if before is not None and _kind(before) != _kind(override.value):
            found = f"{override.key} is {_kind(before)}, and {_kind(override.value)} was given"
            raise UsageError(_CHOICE, found, "give a value of its type")
        changed[override.key] = override.value
    return changed


def override_warnings(overrides: Iterable[KeyOverride]) -> Iterator[str]:
    """Signs that are lost."""
    for override in overrides:
        if override.negative:
            yield f"{override.key} is stored as {override.value.value}, without its sign, as llama-quantize does"


def _kind(value: Value) -> str:
    return _KINDS.get(value.type, _WHOLE)


def _whole(text: str) -> Value:
    number = abs(int(text))
    if number > 2**32 - 1:
        raise ValueError(text)
    return Value(ValueType.UINT32, number)


def _float(text: str) -> Value:
    with np.errstate(over="ignore"):
        number = float(np.float32(float(text)))
    if not math.isfinite(number):
        raise ValueError(text)
    return Value(ValueType.FLOAT32, number)


def _bool(text: str) -> Value:
    return Value(ValueType.BOOL, {"true": True, "false": False}[text])


def _text(text: str) -> Value:
    if len(text.encode()) > _LONGEST:
        raise ValueError(text)
    return Value(ValueType.STRING, text)


# By what is written before the colon: how the rest is read, and what it must be.
_PARSERS: Mapping[str, tuple[Callable[[str], Value], str]] = {
    "int": (_whole, "a whole number below 2^32"),
    "float": (_float, "a number that FLOAT32 holds"),
    "bool": (_bool, "true or false"),
    "str": (_text, f"UTF-8 of at most {_LONGEST} bytes"),
}
