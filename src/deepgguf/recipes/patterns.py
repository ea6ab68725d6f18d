"""The user's own choice of types: PATTERN=TYPE, as llama-quantize reads its own."""

import re
import string
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

import msgspec

from deepgguf.encodings import WRITTEN
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import GGMLType

# std::regex (ECMAScript) and Python's re agree on everything but these; what they read differently is refused.
_READ_DIFFERENTLY = re.compile(
    r"""
      \(\?(?![:=!])                  # inline flags, named groups, look-behind
    | \[\^?\]                        # an empty class
    | \[[^\]]*\[[:.=]                # POSIX classes
    | [*+?}]\+                       # possessive quantifiers
    | \\[^dwsbnrtfvxu0-9\W]          # escapes of letters that mean something to one of the two only
    """,
    re.VERBOSE,
)


_CHOICE = "`tensor_types`"
_LOWER_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Chooses(Protocol):
    """A type for tensors by their names: a TypePattern, or an entry of a recipe file."""

    @property
    def pattern(self) -> str:
        """Which names, in words or as an expression."""

    @property
    def type(self) -> GGMLType:
        """What they get."""

    def matches(self, name: str) -> bool:
        """Whether the tensor's name is one."""


_Chooses = TypeVar("_Chooses", bound=Chooses)


class TypePattern(msgspec.Struct, frozen=True, dict=True):
    """Tensors whose name the regular expression finds somewhere get the type."""

    pattern: str
    type: GGMLType

    def matches(self, name: str) -> bool:
        """Whether the expression occurs in the tensor's name."""
        return self._compiled.search(name) is not None

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.ASCII)


def parse_tensor_type(option: str, where: str = _CHOICE) -> TypePattern:
    """Reads `PATTERN=TYPE` (quantize.cpp, parse_tensor_type): split at the first `=`, the pattern put in lower case.

    Raises:
        UsageError (for `where`): no `=`, nothing before it, a type that deepgguf does not write, or an expression that
            is not valid or that Python and C++ would understand differently.
    """
    pattern, equals, type_name = option.partition("=")
    if not (pattern and equals and type_name):
        raise UsageError(where, f"{option!r} is not of the form PATTERN=TYPE", "write for instance ffn_down=q6_k")
    return TypePattern(_checked(pattern, where), parse_type(type_name, where))


def parse_type_file(text: str, name: str) -> tuple[TypePattern, ...]:
    """Every `PATTERN=TYPE` of a file called `name`, separated by white space (quantize.cpp, parse_tensor_type_file).

    UsageError, which names the line, is that of `parse_tensor_type`.
    """
    lines = enumerate(text.splitlines(), 1)
    return tuple(parse_tensor_type(word, f"{name}, line {number}") for number, line in lines for word in line.split())


def parse_name_patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """One or several regular expressions for names of the checkpoint's tensors; UsageError for what is none."""
    found = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for pattern in found:
        _check_compiles(pattern, pattern, "`drop`", "a part of the name is enough, without *")
        if not pattern:
            raise UsageError("`drop`", "is empty, and every name matches that", "give a part of the names")
    return found


def parse_type(name: str, choice: str = _CHOICE) -> GGMLType:
    """The type of that name, in whatever case (quantize.cpp, parse_ggml_type); UsageError for `choice` if unknown."""
    named = {type.name: type for type in WRITTEN}
    try:
        return named[name.upper()]
    except KeyError:
        known = ", ".join(type.name.lower() for type in sorted(WRITTEN))
        raise UsageError(choice, f"{name!r} is not a type that deepgguf writes", f"choose one of {known}") from None


def first_match(patterns: Iterable[_Chooses], name: str) -> _Chooses | None:
    """The first pattern that finds the tensor's name; later ones do not count."""
    return next((pattern for pattern in patterns if pattern.matches(name)), None)


def _checked(pattern: str, where: str) -> str:
    upper_escape = re.search(r"\\[A-Z]", pattern)
    if upper_escape:
        advice = "patterns are put in lower case, which would turn its meaning around; write a class such as [^0-9]"
        raise UsageError(where, f"{pattern!r} holds {upper_escape.group()}", advice)
    lowered = pattern.translate(_LOWER_CASE)
    found = _READ_DIFFERENTLY.search(lowered)
    if found:
        differently = f"{pattern!r} holds {found.group()!r}, which llama-quantize reads differently"
        raise UsageError(where, differently, "write a simpler one")
    _check_compiles(lowered, pattern, where, "escape what is meant literally")
    return lowered


def _check_compiles(expression: str, given: str, where: str, advice: str) -> None:
    """UsageError for what is no regular expression, or is another in later versions of Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # a class such as [a--b], whose meaning Python will change
            re.compile(expression, re.ASCII)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise UsageError(where, f"{given!r} is not a regular expression: {error}", advice) from None
