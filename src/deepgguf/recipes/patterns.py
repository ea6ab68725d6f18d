"""The user's own choice of types: PATTERN=TYPE, as llama-quantize reads its own."""

import re
import string
import warnings
from collections.abc import Iterable, Sequence
from functools import cached_property

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


def parse_tensor_type(option: str) -> TypePattern:
    """Reads `PATTERN=TYPE` (quantize.cpp, parse_tensor_type): split at the first `=`, the pattern put in lower case.

    Raises:
        UsageError: no `=`, nothing before it, a type that deepgguf does not write, or an expression that is not valid
            or that Python and C++ would understand differently.
    """
    pattern, equals, type_name = option.partition("=")
    if not (pattern and equals and type_name):
        raise UsageError(_CHOICE, f"{option!r} is not of the form PATTERN=TYPE", "write for instance ffn_down=q6_k")
    return TypePattern(_checked(pattern), parse_type(type_name))


def parse_name_patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """One or several regular expressions for names of the checkpoint's tensors; UsageError for what is none."""
    found = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for pattern in found:
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            invalid = f"{pattern!r} is not a regular expression: {error}"
            raise UsageError("`drop`", invalid, "a part of the name is enough, without *") from None
        if not pattern:
            raise UsageError("`drop`", "is empty, which every name matches", "give a part of the names")
    return found


def parse_type(name: str, choice: str = _CHOICE) -> GGMLType:
    """The type of that name, in whatever case (quantize.cpp, parse_ggml_type); UsageError for `choice` if unknown."""
    named = {type.name: type for type in WRITTEN}
    try:
        return named[name.upper()]
    except KeyError:
        known = ", ".join(type.name.lower() for type in sorted(WRITTEN))
        raise UsageError(choice, f"{name!r} is not a type that deepgguf writes", f"choose one of {known}") from None


def first_match(patterns: Iterable[TypePattern], name: str) -> TypePattern | None:
    """The first pattern that finds the tensor's name; later ones do not count."""
    return next((pattern for pattern in patterns if pattern.matches(name)), None)


def _checked(pattern: str) -> str:
    upper_escape = re.search(r"\\[A-Z]", pattern)
    if upper_escape:
        advice = "patterns are put in lower case, which would turn its meaning around; write a class such as [^0-9]"
        raise UsageError(_CHOICE, f"{pattern!r} holds {upper_escape.group()}", advice)
    lowered = pattern.translate(_LOWER_CASE)
    found = _READ_DIFFERENTLY.search(lowered)
    if found:
        differently = f"{pattern!r} holds {found.group()!r}, which llama-quantize reads differently"
        raise UsageError(_CHOICE, differently, "write a simpler one")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # a class such as [a--b], whose meaning Python will change
            re.compile(lowered, re.ASCII)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        invalid = f"{pattern!r} is not a regular expression: {error}"
        raise UsageError(_CHOICE, invalid, "escape what is meant literally") from None
    return lowered
