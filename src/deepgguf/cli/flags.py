"""The library's choices as flags: options for argparse from their declaration, and messages that name them."""

import argparse
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from deepgguf.choices import AnyChoices, Declared, PatchChoices, QuantizationChoices, declared
from deepgguf.errors import UsageError

# Flags that are not the choice's own name, and arguments that have none.
_FLAGS = {
    "tensor_types": "--tensor-type",
    "manifest": "--no-manifest",
    "measure_error": "--report-error",
    "checkpoint": "--from",
    "types": "--type",
    "targets": "--target",
}
_PLACES = {"source": "SRC", "path": "FILE.gguf", "folder": "DIR"}
# The titles under which the help of a command shows its choices; those that are not here come before.
_SECTIONS = {
    "types of the tensors": (
        "recipe", "like", "budget", "write_recipe", "tensor_types", "tensor_type_file", "output_tensor_type",
        "token_embedding_type", "pure", "leave_output_tensor", "allow_requantize",
    ),
    "importance matrix": ("imatrix", "include_weights", "exclude_weights"),
    "parts of the model": ("only", "mtp", "draft", "drop"),
    "split sets and several files": (
        "split_max_size", "split_max_tensors", "no_tensor_first_split", "keep_split", "part", "layout",
    ),
    "keys of the file": ("override_kv", "pre", "chat_template"),
    "existing outputs and interrupted runs": ("overwrite", "resume", "restart"),
    "digests and measurements": ("manifest", "measure_error", "sha256"),
    "reports and model cards": ("report", "card", "published_as", "base_model"),
}  # fmt: skip
# What messages name besides the choices of a conversion.
_NAMED = {
    "executor",
    "ollama",
    "ollama_way",
    "modelfile",
    "output",
    "cache",
    "shards",
    "sparse",
    "remake",
    "undo",
    "report",
    "card",
    "published_as",
    "base_model",
    "layout",
    "types",
    "targets",
    *_PLACES,
}
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,999}")
# A choice, but not a field that a file lacks, which msgspec puts between backticks too.
_IN_A_MESSAGE = re.compile(r"(?<!required field )`(\w+)(?:=([^`]*))?`")


def add_choices(
    parser: argparse._ActionsContainer, of: AnyChoices, only: Collection[str] = (), *,
    defaults: bool = True, several: Collection[str] = (), helps: Mapping[str, str] = {},
) -> None:  # fmt: skip
    """An option for every choice, or for those in `only`; what is not given is None, and left to the library.

    `defaults` says whether the help names these; `helps` has other help for choices that mean something else here.
    Those in `several` may name several values: see `named`.
    """
    for name, entry in declared(of).items():
        if not only or name in only:
            how = {"metavar": f"{entry.choice.metavar}[,…]", **MANY} if name in several else _how(name, entry)
            help = in_flags(helps.get(name) or _help(entry, defaults=defaults))
            section(parser, name).add_argument(flag_of(name), dest=name, help=help, **how)


def section(parser: argparse._ActionsContainer, name: str) -> argparse._ActionsContainer:
    """Where the help of a command has the choice `name`; what is a group of its own stays one."""
    title = next((title for title, names in _SECTIONS.items() if name in names), None)
    if title is None or not isinstance(parser, argparse.ArgumentParser):
        return parser
    known = next((group for group in parser._action_groups if group.title == title), None)
    return known or parser.add_argument_group(title)


def given(options: argparse.Namespace, of: AnyChoices) -> dict[str, Any]:
    """The choices that were made on the command line."""
    known = declared(of)
    found: dict[str, Any] = {name: getattr(options, name, None) for name in known}
    lists = [name for name, value in found.items() if isinstance(value, list) and known[name].choice.default != ()]
    found |= {name: found[name][-1] for name in lists}
    return {name: value for name, value in found.items() if value is not None}


def named(options: argparse.Namespace, name: str) -> list[str]:
    """The values of a choice that may have several, separated by commas or each with its flag."""
    return list(getattr(options, name) or ())


def _parted(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


MANY: dict[str, Any] = {"action": "extend", "type": _parted}
"""How a flag is parsed whose choice may have several values."""


def whole_number(name: str) -> Callable[[str], int]:
    """How the number of a flag is parsed: ASCII digits only, as those of a size; UsageError that names the choice."""

    def parsed(text: str) -> int:
        if not _WHOLE_NUMBER.fullmatch(text):
            raise UsageError(f"`{name}`", f"must be a whole number, not {text!r}")
        return int(text)

    return parsed


def in_flags(message: str) -> str:
    """A message of the library, with flags where it names choices: `type="bf16"` becomes --type bf16."""
    known = declared(QuantizationChoices).keys() | declared(PatchChoices).keys() | _NAMED

    def flag(match: re.Match[str]) -> str:
        name, value = match[1], (match[2] or "").strip('"')
        if name not in known:
            return match[0]
        return flag_of(name) + ("" if value in ("", "True", "False") else f" {value}")

    return _IN_A_MESSAGE.sub(flag, message)


def flag_of(name: str) -> str:
    """The flag of a choice."""
    return (_FLAGS | _PLACES).get(name, f"--{name.replace('_', '-')}")


def _help(entry: Declared, *, defaults: bool) -> str:
    help, default = entry.choice.help, entry.choice.default
    if bool in entry.types:
        return f"do not {help}" if default else help
    if entry.allowed and "|" not in entry.choice.metavar:
        help += f": {' or '.join(entry.allowed)}"
    return f"{help} (default: {default})" if default and defaults else help


def _how(name: str, entry: Declared) -> dict[str, Any]:
    """The other arguments of `add_argument`."""
    if bool in entry.types:
        return {"action": "store_const", "const": not entry.choice.default}
    how: dict[str, Any] = {"metavar": entry.choice.metavar}
    if entry.choice.default == ():
        return how | {"action": "append"}
    return how | ({"type": whole_number(name)} if entry.types == (int,) else {})
