"""Several outputs of one source: the options of each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from deepgguf.errors import UsageError
from deepgguf.formats.gguf.split_set import unsplit_stem
from deepgguf.formats.gguf.types import Value
from deepgguf.planning.options import Options
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.planning.split import is_share
from deepgguf.recipes.recipe import RECIPES

_NAMES_A_TYPE = ("recipe", "like")


def listed(texts: str | Sequence[str]) -> tuple[str, ...]:
    """One, or several, of what may be given as either."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def first_choice(name: str, values: Sequence[str], choices: Mapping[str, Any]) -> dict[str, str]:
    """The choice `name` as it is for the first output; nothing if `values` are none.

    UsageError if a value is there twice, in capitals or not, or if the choices have one too.
    """
    if choices.get(name) is not None:
        raise UsageError(f"`{name}`", f"contradicts `{name}s`, which names those of several outputs", "leave it out")
    lowered = [value.lower() for value in values]
    for value in lowered:
        if lowered.count(value) > 1:
            raise UsageError(f"`{name}s`", f"names {value} twice", "name each once")
    return {name: values[0]} if values else {}


def refuse_one_output_only(types: Sequence[str], choices: Mapping[str, Any]) -> None:
    """UsageError for choices that go with one output only."""
    if choices.get("budget") is not None:
        raise UsageError("`budget`", "chooses the types of one output", "plan that one by itself")
    if is_share(choices.get("part")):
        raise UsageError("`part`", "is a task's share of the files of one output", "give each output tasks of its own")
    for name in _NAMES_A_TYPE:
        if len(types) > 1 and choices.get(name) is not None:
            raise UsageError("`types`", f"contradicts `{name}`, which chooses every type", "leave one of them out")


def of_types(options: Options, types: Sequence[str]) -> tuple[Options, ...]:
    """The options for each of the types, or as they are without any.

    What only quantized files have is for those of the outputs that are quantized, if there is one.
    """
    lowered = [type.lower() for type in types]
    if not any(type in RECIPES for type in lowered):
        return tuple(msgspec.structs.replace(options, type=type) for type in lowered) or (options,)
    return tuple(options.of_type(type) for type in lowered)


class SharedArrays:
    """The arrays of the keys of several plans: those that are equal are kept once, for tokenizers have 10⁵ tokens."""

    def __init__(self) -> None:
        self._known: dict[str, list[Value]] = {}

    def shared(self, plan: Plan) -> Plan:
        """The plan with the arrays of those before, where they are equal."""
        return msgspec.structs.replace(plan, files=tuple(map(self._file, plan.files)))

    def _file(self, file: PlannedFile) -> PlannedFile:
        keys = {name: self._kept(name, value) for name, value in file.keys.items()}
        return msgspec.structs.replace(file, keys=keys)

    def _kept(self, name: str, value: Value) -> Value:
        if not isinstance(value.value, list):
            return value
        known = self._known.setdefault(name, [])
        same = next((one for one in known if one == value), None)
        if same is None:
            known.append(value)
        return same or value


def refuse_one_name(plans: Iterable[Plan]) -> None:
    """UsageError for plans of one target that name different files alike: `auto` and `source` may both be MXFP4."""
    seen: dict[str, tuple[str, tuple[PlannedFile, ...]]] = {}
    for plan in plans:
        name = f"{unsplit_stem(plan.files[0].name)}.gguf"
        other, files = seen.setdefault(name, (plan.type, plan.files))
        if files != plan.files:
            found = f"{other} and {plan.type} make different files of the same name, {name}"
            raise UsageError("`types`", found, "leave one out, and make it by itself into another folder")
