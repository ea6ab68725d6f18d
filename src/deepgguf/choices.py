"""What a caller may decide, declared once: keyword arguments of the library, options of the command line."""

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, get_args, get_origin, get_type_hints

from deepgguf.errors import UsageError

StrPath = str | os.PathLike[str]
Target = Literal["ollama", "llama.cpp"]
FileKind = Literal["text", "mmproj"]

_UNITS = {"K": 1000, "M": 1000**2, "G": 1000**3}


class Choice(NamedTuple):
    """What is said of a choice besides its name and type: help in one line, a word for its value, its default."""

    help: str
    metavar: str = ""
    default: object = None


class Choices(TypedDict, total=False):
    """What decides the bytes of a conversion. Sizes are numbers of bytes, or text in powers of 1000: "48G", "500M".

    `type` "auto" is what the target's own converter makes. `tensor_types` are "PATTERN=TYPE", one or several, as
    llama-quantize has them, or a mapping from pattern to type: the first regular expression that matches a tensor's
    name counts.
    """

    target: Annotated[Target, Choice("the engine that will run it", "ENGINE", "ollama")]
    type: Annotated[str, Choice("auto, f32, f16, bf16, or a quantized type such as q8_0 or q4_k_m", "TYPE", "auto")]
    only: Annotated[FileKind | None, Choice("only this file of a model that sees pictures", "FILE")]
    split_max_size: Annotated[int | str | None, Choice("split into files of at most SIZE: 48G, 500M, …", "SIZE")]
    split_max_tensors: Annotated[int | None, Choice("split into files of at most N tensors", "N")]
    part: Annotated[int | None, Choice("only file K of a split set, from 1", "K")]
    imatrix: Annotated[StrPath | None, Choice("an importance matrix, GGUF or the older form", "FILE")]
    tensor_types: Annotated[
        str | Sequence[str] | Mapping[str, str],
        Choice("the type of the tensors that PATTERN matches", "PATTERN=TYPE", ()),
    ]
    output_tensor_type: Annotated[str | None, Choice("the type of output.weight", "TYPE")]
    token_embedding_type: Annotated[str | None, Choice("the type of token_embd.weight", "TYPE")]


class RunChoices(TypedDict, total=False):
    """What decides how a plan is carried out; none of it changes a byte of the GGUF files.

    Without `resume` or `restart` it is an error to find what an interrupted run left. `manifest` is FILE.gguf.json.
    """

    jobs: Annotated[int | None, Choice("threads (default: the processors that this process may use)", "N")]
    overwrite: Annotated[bool, Choice("replace an existing output", default=False)]
    resume: Annotated[bool, Choice("resume an interrupted run", default=False)]
    restart: Annotated[bool, Choice("discard what an interrupted run left", default=False)]
    allow_nonfinite: Annotated[bool, Choice("convert NaN and Inf as they are", default=False)]
    manifest: Annotated[bool, Choice("write FILE.gguf.json with the digests of all tensors", default=True)]
    measure_error: Annotated[bool, Choice("measure the quantization error of every tensor", default=False)]
    sha256: Annotated[bool, Choice("report the SHA-256 of each file too, which reads it again", default=False)]


class ConversionChoices(Choices, RunChoices, total=False):
    """All that `deepgguf.convert` takes: what decides the bytes, and how they are made."""


CHOICES_OF_A_FILE = ("target", "type", "imatrix", "tensor_types", "output_tensor_type", "token_embedding_type")
"""What a finished file may need to be told again of its conversion; the rest (names, how it was split) it shows."""


class Declared(NamedTuple):
    """A choice as it is declared: the types of its values (None left out), the allowed ones if they are few."""

    choice: Choice
    types: tuple[Any, ...]
    allowed: tuple[str, ...]


def declared(choices: type[Choices] | type[RunChoices]) -> dict[str, Declared]:
    """The declaration of every choice, by name."""
    found = {}
    for name, hint in get_type_hints(choices, include_extras=True).items():
        annotated, choice = get_args(hint)
        types = [t for t in (annotated, *get_args(annotated)) if t is not type(None)]
        allowed = next((get_args(t) for t in types if get_origin(t) is Literal), ())
        found[name] = Declared(choice, tuple(types), allowed)
    return found


def complete(choices: Mapping[str, Any], of: type[Choices] | type[RunChoices]) -> dict[str, Any]:
    """The choices with the defaults of those that were not made.

    TypeError for a name that is not declared, as Python has it; UsageError for a value that is not allowed.
    """
    known = declared(of)
    for name, value in choices.items():
        if name not in known:
            raise TypeError(f"{name!r} is not a choice; choose from {', '.join(known)}")
        types, allowed = known[name].types, known[name].allowed
        if allowed and value is not None and value not in allowed:
            raise UsageError(f"`{name}`", f"{value!r} is unknown", f"choose from {', '.join(allowed)}")
        if int in types and str not in types and value is not None and not isinstance(value, int):
            raise UsageError(f"`{name}`", f"{value!r} is not a whole number", "give a number from 1")
        if int in types and isinstance(value, int) and value < 1:
            raise UsageError(f"`{name}`", f"{value} is too small", "give a number from 1")
    return {name: entry.choice.default for name, entry in known.items()} | dict(choices)


def parse_size(size: int | str) -> int:
    """Bytes: a number, or text such as "48G", "500M", "1024K", in powers of 1000 as llama-gguf-split has them."""
    text = str(size)
    number = text.rstrip("KMG")
    unit = text[len(number) :]
    if not (number.isascii() and number.isdigit() and len(number) < 20) or unit not in {"", *_UNITS} or not int(number):
        raise UsageError("`split_max_size`", f"{size!r} is not a size", "give one such as 48G or 500M")
    return int(number) * _UNITS.get(unit, 1)
