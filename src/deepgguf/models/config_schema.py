"""Numbers of a config.json with their bounds, and the conversion of a JSON object to a typed config."""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from deepgguf.errors import CheckpointError

Positive = Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0, lt=1e30)]

_T = TypeVar("_T")

JsonObject = Mapping[str, object]


def to_config(raw: JsonObject, defaults: JsonObject, type: type[_T], where: str) -> _T:
    """`raw` over `defaults` as a `type`; CheckpointError names the key, what was found and what was expected.

    A key that is absent takes its default; an explicit null is a value of its own ("none").
    """
    try:
        return msgspec.convert({**defaults, **raw}, type)
    except msgspec.ValidationError as error:
        raise CheckpointError(where, _readable(str(error)), "compare with the model's original config.json") from None


def json_object(value: object, where: str, key: str) -> JsonObject:
    """`value` if it is a JSON object, else a CheckpointError that names `key`."""
    if not isinstance(value, Mapping):
        found = "is missing" if value is None else f"is {type(value).__name__}"
        raise CheckpointError(where, f"{key} {found}, expected an object")
    return value


def check_built_in(said: JsonObject, built_in: JsonObject, where: str) -> None:
    """CheckpointError for a field that says other than what the engine has built in; null says nothing."""
    for name, value in built_in.items():
        if said.get(name) not in (None, value):
            raise CheckpointError(
                where, f"{name} is {said[name]!r}, expected {value!r}", "the engine computes no other"
            )


def _readable(message: str) -> str:
    """Msgspec's "Expected `int` - at `$.hidden_size`", with the key first."""
    text, at, path = message.partition(" - at `$.")
    return f"{path.rstrip('`')}: {text}" if at else message
