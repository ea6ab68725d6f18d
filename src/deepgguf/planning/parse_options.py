"""A conversion's choices from what the caller gives: texts, paths, mappings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepgguf.checkpoint.importance import ImportanceMatrix, read_importance
from deepgguf.choices import parse_size
from deepgguf.errors import UsageError
from deepgguf.files.given_text import read_given_text
from deepgguf.planning.key_overrides import parse_overrides
from deepgguf.planning.options import Options
from deepgguf.recipes.patterns import (
    TypePattern,
    parse_name_patterns,
    parse_tensor_type,
    parse_type,
    parse_type_file,
)

# Choices that become part of another: of which field of Options.
_FILTERS = ("include_weights", "exclude_weights")
_PART_OF = {"tensor_type_file": "tensor_types", **dict.fromkeys(_FILTERS, "imatrix")}
_NO_OPTION = ("part", *_PART_OF)

_PARSERS: Mapping[str, Callable[[Any], object]] = {
    "type": str.lower,
    "split_max_size": parse_size,
    "drop": parse_name_patterns,
    "output_tensor_type": lambda type: parse_type(type, "`output_tensor_type`"),
    "token_embedding_type": lambda type: parse_type(type, "`token_embedding_type`"),
    "override_kv": parse_overrides,
}


def parse_options(chosen: Mapping[str, Any], output: str | None = None) -> Options:
    """The parsed form of complete choices; `output` is the text file's name. Files that they name are read.

    UsageError for what cannot be read or understood, CheckpointError for a faulty importance matrix.
    """
    values = {name: choice for name, choice in chosen.items() if name not in _NO_OPTION}
    parsed = {name: parse(values[name]) for name, parse in _PARSERS.items() if values[name] is not None}
    together = {"tensor_types": _patterns(chosen), "imatrix": _importance(chosen)}
    return Options(**{**values, **parsed, **together}, output=output)


def parse_given(choices: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The parsed form of those `choices` that were made, by field of Options; `chosen` are all, completed."""
    parsed = parse_options(chosen)
    fields = dict.fromkeys(_PART_OF.get(name, name) for name, choice in choices.items() if choice is not None)
    return {field: getattr(parsed, field) for field in fields}


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
            raise UsageError(f"`{name}`", "is empty, which every name has", "give a part of the names")
        if parts and chosen["imatrix"] is None:
            raise UsageError(f"`{name}`", "has no meaning without `imatrix`", "give that too")
    if chosen["imatrix"] is None:
        return None
    matrix = read_importance(chosen["imatrix"])
    return matrix.filtered(include, exclude) if include or exclude else matrix


def _listed(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts
