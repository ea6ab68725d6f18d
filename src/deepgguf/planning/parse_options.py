"""A conversion's choices from what the caller gives: texts, paths, mappings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from deepgguf.checkpoint.chat_templates import read_template_file
from deepgguf.checkpoint.importance import ImportanceMatrix, read_importance
from deepgguf.choices import FileKind, StrPath, parse_size
from deepgguf.errors import UsageError
from deepgguf.files.given_text import read_given_text
from deepgguf.files.recipe_text import read_recipe_text
from deepgguf.formats.gguf.split_set import read_split_set
from deepgguf.planning.key_overrides import parse_overrides
from deepgguf.planning.options import Options
from deepgguf.recipes.patterns import (
    TypePattern,
    parse_name_patterns,
    parse_tensor_type,
    parse_type,
    parse_type_file,
)
from deepgguf.recipes.published import recipe_of
from deepgguf.recipes.recipe_file import RecipeFile, must_be_written, parse_recipe

_FILTERS = ("include_weights", "exclude_weights")
# Choices that become part of others: of which fields of Options.
_PART_OF: Mapping[str, tuple[str, ...]] = {
    "recipe": ("type", "pure", "tensor_types"),
    "tensor_type_file": ("tensor_types",),
    **dict.fromkeys(_FILTERS, ("imatrix",)),
}
_NO_OPTION = ("part", "draft", "budget", "like", "write_recipe", *_PART_OF)
# What chooses types otherwise than by `tensor_types`, which a budget leaves as they are.
_NOT_WITHIN_A_BUDGET = (
    "type", "recipe", "like", "output_tensor_type", "token_embedding_type", "pure", "leave_output_tensor"
)  # fmt: skip
_ANY_MIXTURE = "q8_0"

_PARSERS: Mapping[str, Callable[[Any], object]] = {
    "type": str.lower,
    "split_max_size": parse_size,
    "drop": parse_name_patterns,
    "output_tensor_type": lambda type: parse_type(type, "`output_tensor_type`"),
    "token_embedding_type": lambda type: parse_type(type, "`token_embedding_type`"),
    "override_kv": parse_overrides,
    "chat_template": read_template_file,
}


def parse_options(chosen: Mapping[str, Any], output: str | None = None) -> Options:
    """The parsed form of complete choices; `output` is the text file's name. Files that they name are read.

    UsageError for what cannot be read or understood, CheckpointError for a faulty importance matrix.
    """
    values = {name: choice for name, choice in chosen.items() if name not in _NO_OPTION}
    parsed = {name: parse(values[name]) for name, parse in _PARSERS.items() if values[name] is not None}
    together = {"tensor_types": _patterns(chosen), "imatrix": _importance(chosen), "only": _only(chosen)}
    options = Options(**{**values, **parsed, **together}, output=output)
    if chosen["budget"] is not None:
        return _for_budget(options, chosen)
    if chosen["write_recipe"] is not None:
        raise UsageError("`write_recipe`", "has no meaning without `budget`", "give that too")
    if chosen["like"] is not None:
        return _like(options, chosen)
    return options if chosen["recipe"] is None else _by_recipe(options, chosen["recipe"])


def parse_given(choices: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed form of those `choices` that were made, by field of Options; `chosen` are all, completed."""
    parsed = parse_options(chosen)
    made = [_PART_OF.get(name, (name,)) for name, choice in choices.items() if choice is not None]
    return {field: getattr(parsed, field) for fields in made for field in fields}


def _for_budget(options: Options, chosen: Mapping[str, Any]) -> Options:
    """The options without a choice of types but `tensor_types`, of some mixture until one is chosen."""
    defaults = Options()
    for name in _NOT_WITHIN_A_BUDGET:
        if chosen[name] not in (None, getattr(defaults, name, None)):
            raise UsageError(f"`{name}`", "contradicts `budget`, which chooses types", "leave out one of them")
    return msgspec.structs.replace(options, type=_ANY_MIXTURE, recipe_name=str(chosen["budget"]))


def _like(options: Options, chosen: Mapping[str, Any]) -> Options:
    """The options with the types of a published file, behind those that were chosen one by one."""
    if options.type != "auto" or chosen["recipe"] is not None:
        other = "recipe" if options.type == "auto" else "type"
        raise UsageError(f"`{other}`", "contradicts `like`, which chooses every type", "leave one of them out")
    headers = read_split_set(chosen["like"], forks=True)
    recipe = recipe_of(headers, str(chosen["like"]))
    names = frozenset(tensor.name for header in headers for tensor in header.tensors)
    return msgspec.structs.replace(_with_recipe(options, recipe), like=names)


def _by_recipe(options: Options, given: StrPath) -> Options:
    """The options with a recipe file's types, behind those that were chosen one by one."""
    if options.type != "auto":
        raise UsageError("`type`", "contradicts `recipe`, which names its base", "leave one of them out")
    name, text = read_recipe_text(given)
    return _with_recipe(options, parse_recipe(text, str(given)), name)


def _with_recipe(options: Options, recipe: RecipeFile, name: str = "") -> Options:
    must_be_written(recipe)
    return msgspec.structs.replace(
        options,
        type=recipe.base,
        pure=options.pure or recipe.pure,
        tensor_types=(*options.tensor_types, *recipe.entries),
        recipe_name=name,
    )


def _only(chosen: Mapping[str, Any]) -> FileKind | None:
    only: FileKind | None = chosen["only"]
    if only and chosen["draft"]:
        raise UsageError("`draft`", "contradicts `only`", "give one of them")
    return "draft" if chosen["draft"] else only


def _patterns(chosen: Mapping[str, Any]) -> tuple[TypePattern, ...]:
    types: str | Sequence[str] | Mapping[str, str] = chosen["tensor_types"]
    if isinstance(types, Mapping):
        types = [f"{pattern}={type}" for pattern, type in types.items()]
    found = tuple(parse_tensor_type(type) for type in _listed(types))
    path = chosen["tensor_type_file"]
    return found if path is None else found + parse_type_file(read_given_text(path), str(path))


def _importance(chosen: Mapping[str, Any]) -> ImportanceMatrix | None:
    include, exclude = (_listed(chosen[name]) for name in _FILTERS)
    if include and exclude:
        raise UsageError("`include_weights`", "contradicts `exclude_weights`", "give one of them")
    for name, parts in zip(_FILTERS, (include, exclude), strict=True):
        if "" in parts:
            raise UsageError(f"`{name}`", "is empty, and every name contains that", "give a part of the names")
        if parts and chosen["imatrix"] is None:
            raise UsageError(f"`{name}`", "has no meaning without `imatrix`", "give that too")
    if chosen["imatrix"] is None:
        return None
    matrix = read_importance(chosen["imatrix"])
    return matrix.filtered(include, exclude) if include or exclude else matrix


def _listed(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts
