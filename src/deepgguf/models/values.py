"""Typed key values; a None stays out of the file (an absent key means "no value" to the engines, a zero does not)."""

from collections.abc import Mapping, Sequence

from deepgguf.formats.gguf.types import Value, ValueType


def uint32(value: int | None) -> Value | None:
    """A UINT32, or no key."""
    return None if value is None else Value(ValueType.UINT32, value)


def float32(value: float | None) -> Value | None:
    """A FLOAT32 (rounded once, when it is encoded), or no key."""
    return None if value is None else Value(ValueType.FLOAT32, float(value))


def boolean(value: bool | None) -> Value | None:
    """A BOOL, or no key."""
    return None if value is None else Value(ValueType.BOOL, value)


def string(value: str | None) -> Value | None:
    """A STRING, or no key."""
    return None if value is None else Value(ValueType.STRING, value)


def array(item_type: ValueType, values: Sequence[object] | None) -> Value | None:
    """An ARRAY of one item type, or no key."""
    return None if values is None else Value(ValueType.ARRAY, list(values), item_type)


def present(keys: Mapping[str, Value | None], prefix: str = "") -> dict[str, Value]:
    """The keys that have a value, each with `prefix` before its name."""
    return {prefix + name: value for name, value in keys.items() if value is not None}
