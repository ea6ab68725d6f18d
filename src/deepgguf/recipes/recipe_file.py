"""Recipe files: a mixture and what is to be different, by component and layer, in TOML.

    description = "experts small, the rest large"
    base = "q8_0"

    [[tensors]]
    components = ["ffn_gate_exps", "ffn_up_exps"]
    layers = "3-30,45-"
    type = "q3_k"
    comment = "two thirds of the weights, each token reads 8 of 256"

The first entry that has a tensor's component and layer decides, as with patterns; a component is what stands between
`blk.N.` and `.weight`, and `*` in it is any text.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from typing import Any, NoReturn

import msgspec

from deepgguf.encodings import WRITTEN
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.recipes.recipe import RECIPES

_NAME = re.compile(r"(?:blk\.([0-9]+)\.)?(.+)\.weight", re.ASCII)
_COMPONENT = re.compile(r"[a-z0-9_.*]+", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,4})(?:(-)([0-9]{1,4})?)?", re.ASCII)
_LAST = 9999
_MEMBERS = ("description", "base", "pure", "tensors")
_OF_AN_ENTRY = ("components", "layers", "type", "comment")

Layers = tuple[tuple[int, int], ...]
"""Ranges of layers, both ends included; empty for tensors of any layer or of none."""


class RecipeEntry(msgspec.Struct, frozen=True, dict=True):
    """Tensors of these components in these layers get the type; `where` is the entry's place, for errors."""

    components: tuple[str, ...]
    layers: Layers
    type: GGMLType
    comment: str = ""
    where: str = ""

    @property
    def pattern(self) -> str:
        """What it matches, in words."""
        layers = f" in layers {spell_layers(self.layers)}" if self.layers else ""
        return f"{', '.join(self.components)}{layers}"

    def matches(self, name: str) -> bool:
        """Whether the tensor's component and layer are the entry's."""
        component, layer = _parts(name)
        if self.layers and not any(first <= layer <= last for first, last in self.layers):
            return False
        return self._compiled.fullmatch(component) is not None

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile("|".join(re.escape(component).replace(r"\*", ".*") for component in self.components))


class RecipeFile(msgspec.Struct, frozen=True):
    """A recipe: the mixture `base` (without its rules if `pure`), and the entries that come before it."""

    base: str
    entries: tuple[RecipeEntry, ...] = ()
    description: str = ""
    pure: bool = False


def parse_recipe(text: str, name: str) -> RecipeFile:
    """The recipe that a file called `name` holds.

    UsageError, with line or entry, for what is not TOML, or has unknown members, types, mixtures or layers. Types that
    GGUF has and deepgguf does not write are for `must_be_written`.
    """
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(name, f"is not TOML: {error}", "correct that line") from None
    _must_know(raw, _MEMBERS, name)
    base = _member(raw, "base", str, name)
    if base is None:
        _refuse(name, "has no member base", f"name the mixture for all other tensors: {', '.join(RECIPES)}")
    if base.lower() not in RECIPES:
        _refuse(name, f"base = {base!r} is not a mixture", f"choose one of {', '.join(RECIPES)}")
    entries = _member(raw, "tensors", list, name) or []
    return RecipeFile(
        base.lower(),
        tuple(_entry(entry, f"{name}, entry {number}") for number, entry in enumerate(entries, 1)),
        _member(raw, "description", str, name) or "",
        _member(raw, "pure", bool, name) or False,
    )


def must_be_written(recipe: RecipeFile) -> None:
    """UsageError for the first entry with a type that deepgguf does not write."""
    for entry in recipe.entries:
        if entry.type not in WRITTEN:
            known = ", ".join(type.name.lower() for type in sorted(WRITTEN))
            _refuse(entry.where, f"deepgguf does not write {entry.type.name.lower()}", f"choose one of {known}")


def spell_recipe(recipe: RecipeFile) -> str:
    """The text of a file that `parse_recipe` reads as this recipe."""
    lines = [f"description = {_quoted(recipe.description)}"] if recipe.description else []
    lines += [f'base = "{recipe.base}"', *(["pure = true"] if recipe.pure else [])]
    for entry in recipe.entries:
        lines += ["", "[[tensors]]", f"components = [{', '.join(map(_quoted, entry.components))}]"]
        lines += [f'layers = "{spell_layers(entry.layers)}"'] if entry.layers else []
        lines += [f'type = "{entry.type.name.lower()}"']
        lines += [f"comment = {_quoted(entry.comment)}"] if entry.comment else []
    return "\n".join(lines) + "\n"


def layers_of(numbers: Iterable[int]) -> Layers:
    """The ranges of these layers."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)


def spell_layers(layers: Layers) -> str:
    """Ranges as a recipe file has them: 0-2,5,30-."""
    texts = []
    for first, last in layers:
        texts.append(f"{first}" if first == last else f"{first}-" if last == _LAST else f"{first}-{last}")
    return ",".join(texts)


def component_of(name: str) -> tuple[str, int]:
    """A tensor's component and layer; its whole name, and −1, for what has none."""
    return _parts(name)


@cache
def _parts(name: str) -> tuple[str, int]:
    found = _NAME.fullmatch(name)
    if found is None:
        return name, -1
    return found[2], int(found[1]) if found[1] else -1


def _entry(raw: object, where: str) -> RecipeEntry:
    if not isinstance(raw, dict):
        _refuse(where, "is not a table", "write it as [[tensors]]")
    _must_know(raw, _OF_AN_ENTRY, where)
    components, type_name = raw.get("components"), _member(raw, "type", str, where)
    components = [components] if isinstance(components, str) else components
    if not isinstance(components, list) or not components or not all(map(_is_component, components)):
        advice = 'write for instance components = ["ffn_up_exps", "attn_*"], without blk.N. and .weight'
        _refuse(where, "has no member components, a list of parts of tensors' names", advice)
    if type_name is None or type_name.upper() not in GGMLType.__members__:
        known = ", ".join(type.name.lower() for type in sorted(WRITTEN))
        found = "has no member type" if type_name is None else f"type = {type_name!r} is not a type"
        _refuse(where, found, f"choose one of {known}")
    layers = _layers(raw["layers"], where) if "layers" in raw else ()
    return RecipeEntry(
        tuple(components), layers, GGMLType[type_name.upper()], _member(raw, "comment", str, where) or "", where
    )


def _is_component(text: object) -> bool:
    return isinstance(text, str) and _COMPONENT.fullmatch(text) is not None


def _layers(given: object, where: str) -> Layers:
    texts = str(given).split(",") if isinstance(given, str | int) and not isinstance(given, bool) else [""]
    found = []
    for text in texts:
        range = _RANGE.fullmatch(text.strip())
        first = int(range[1]) if range else 0
        last = int(range[3]) if range and range[3] else _LAST if range and range[2] else first
        if range is None or last < first:
            _refuse(where, f"layers = {given!r} are not layers", 'write for instance layers = "0-2,5,30-"')
        found.append((first, last))
    return tuple(found)


def _member(raw: Mapping[str, Any], name: str, type: type, where: str) -> Any:
    value = raw.get(name)
    if value is not None and not isinstance(value, type):
        kinds = {str: "text", bool: "true or false", list: "a list of tables"}
        _refuse(where, f"{name} is not {kinds[type]}", "correct it")
    return value


def _must_know(raw: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in raw:
        if name not in known:
            _refuse(where, f"{name!r} is unknown", f"choose from {', '.join(known)}")


def _quoted(text: str) -> str:
    """A basic string of TOML: every text of JSON that is printable is one."""
    return msgspec.json.encode(text).decode()


def _refuse(where: str, found: str, advice: str) -> NoReturn:
    raise UsageError(where, found, advice)
