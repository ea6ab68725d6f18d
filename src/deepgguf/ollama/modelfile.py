"""Modelfiles: what Ollama is to be told of a model besides its files (parser/parser.go, api/types.go)."""

import re
from collections.abc import Callable, Sequence

import msgspec

from deepgguf.errors import UsageError, printable

_TEXTS = ("template", "system", "renderer", "parser", "requires")
_IGNORED, _REFUSED = ("from",), ("adapter", "draft")
_KNOWN = (*_TEXTS, *_IGNORED, *_REFUSED, "license", "parameter", "message")
_ROLES = ("system", "user", "assistant")
_LINE = re.compile(r"[ \t]*(?:#.*)?$")
_WORD = re.compile(r"[ \t]*(\S+)(?:[ \t]+|$)")
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+)")


def _truth(text: str) -> bool:
    """As Go's strconv.ParseBool has it."""
    truths = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True)
    return (truths | dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False))[text]


# The fields of Ollama's options (api/types.go, Options and Runner), and what their text stands for.
_PARAMETERS: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(
        ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n", "num_ctx", "num_batch", "num_gpu", "main_gpu",
         "num_thread", "draft_num_predict"), int,
    ),
    **dict.fromkeys(
        ("top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty", "frequency_penalty"), float
    ),
    "use_mmap": _truth,
    "stop": str,
}  # fmt: skip


class Modelfile(msgspec.Struct, frozen=True):
    """All of a Modelfile but FROM; empty is what it does not say. `messages` are pairs of role and content."""

    template: str = ""
    system: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    parameters: dict[str, object] = {}
    licenses: tuple[str, ...] = ()
    messages: tuple[tuple[str, str], ...] = ()

    def text(self, files: Sequence[str], notes: Sequence[str] = ()) -> str:
        """It as a file, with a FROM for each of `files`, and `notes` as comments at its head."""
        lines = [f"# {note}" for note in notes]
        lines += [f"FROM {file}" for file in files]
        lines += [f"{word.upper()} {_quoted(getattr(self, word))}" for word in _TEXTS if getattr(self, word)]
        for name, value in self.parameters.items():
            lines += [f"PARAMETER {name} {_spelled(v)}" for v in (value if isinstance(value, list) else [value])]
        lines += [f"MESSAGE {role} {_quoted(content)}" for role, content in self.messages]
        lines += [f"LICENSE {_quoted(text)}" for text in self.licenses]
        return "".join(f"{line}\n" for line in lines)


def parse_modelfile(text: str, where: str) -> Modelfile:
    """What the text says; its FROM lines are left out, for deepgguf has the files.

    UsageError, with the line, for what Ollama would refuse, or silently misunderstand.
    """
    found: dict[str, str] = {}
    parameters: dict[str, object] = {}
    licenses, messages = [], []
    for number, word, value in _commands(text, where):
        place = f"{where}, line {number}"
        if word in _REFUSED:
            raise UsageError(place, f"{word.upper()} is for `ollama create` only", "leave it out here")
        if word == "license":
            licenses.append(value)
        elif word == "message":
            messages.append(_message(value, place))
        elif word == "parameter":
            _set_parameter(parameters, value, place)
        elif word == "requires":
            found[word] = _version(value, place)
        elif word in _TEXTS:
            found[word] = value
    if bool(found.get("renderer")) != bool(found.get("parser")):
        lone = "RENDERER" if found.get("renderer") else "PARSER"
        raise UsageError(where, f"has {lone} alone, and chats would lose their roles", "give RENDERER and PARSER")
    return Modelfile(**found, parameters=parameters, licenses=tuple(licenses), messages=tuple(messages))


def _commands(text: str, where: str) -> list[tuple[int, str, str]]:
    """(line, command in lower case, value without its quotes) of every command."""
    lines, found, at = text.splitlines(), [], 0
    while at < len(lines):
        start, line = at, lines[at]
        at += 1
        if _LINE.match(line):
            continue
        word = _WORD.match(line)
        name = word[1].lower() if word else ""
        if name not in _KNOWN:
            expected = ", ".join(sorted(known.upper() for known in _KNOWN))
            raise UsageError(
                f"{where}, line {start + 1}", f"{printable(name, 40)!r} is not a command", f"use {expected}"
            )
        head, value = _head(name, line[word.end() if word else 0 :])
        while (whole := _unquoted(value.strip())) is None:
            if at == len(lines):
                raise UsageError(f"{where}, line {start + 1}", "a quotation mark is never closed", "close it")
            value, at = f"{value}\n{lines[at]}", at + 1
        found.append((start + 1, name, f"{head} {whole}" if head else whole))
    return found


def _head(name: str, rest: str) -> tuple[str, str]:
    """The role of a message, or the name of a parameter, and the value behind it; else the value alone."""
    if name not in ("message", "parameter"):
        return "", rest
    head, _, value = rest.strip().partition(" ")
    return head, value


def _unquoted(value: str) -> str | None:
    """The value between its quotation marks, three or one, if it has any; None while they are open."""
    for mark in ('"""', '"'):
        if value.startswith(mark):
            closed = len(value) >= 2 * len(mark) and value.endswith(mark)
            return value[len(mark) : -len(mark)] if closed else None
    return value


def _message(value: str, place: str) -> tuple[str, str]:
    role, _, content = value.partition(" ")
    if role not in _ROLES:
        raise UsageError(
            place, f"{printable(role, 40)!r} is not a role of a message", f"use one of {', '.join(_ROLES)}"
        )
    return role, content


def _set_parameter(parameters: dict[str, object], value: str, place: str) -> None:
    name, _, text = value.partition(" ")
    if name not in _PARAMETERS:
        raise UsageError(place, f"unknown parameter {printable(name, 40)!r}", f"use one of {', '.join(_PARAMETERS)}")
    try:
        parsed = _PARAMETERS[name](text)
    except (ValueError, KeyError):
        raise UsageError(place, f"{name} cannot be {printable(text, 40)!r}", "see Ollama's docs/modelfile") from None
    before = parameters.get(name)
    parameters[name] = [*(before if isinstance(before, list) else []), parsed] if name == "stop" else parsed


def _version(value: str, place: str) -> str:
    version = _VERSION.fullmatch(value)
    if not version:
        raise UsageError(place, f"{printable(value, 40)!r} is not a version", "give one such as 0.30.0")
    return version[1]


def _quoted(text: str) -> str:
    """As it must stand to be read back: in three quotation marks if it has lines, or blanks or marks at its ends."""
    return f'"""{text}"""' if "\n" in text or text != text.strip() or text.startswith('"') else text


def _spelled(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _quoted(str(value))
