"""What a caller may decide, declared once: keyword arguments of the library, options of the command line."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    ParamSpec,
    TypedDict,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from deepgguf.errors import UsageError

StrPath = str | os.PathLike[str]
Target = Literal["ollama", "llama.cpp"]
FileKind = Literal["text", "mmproj", "draft"]
Mtp = Literal["keep", "drop", "only"]
Layout = Literal["flat", "folders"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_SIZE = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,12}))?([KMGT]?)")


class Choice(NamedTuple):
    """What is said of a choice besides its name and type: help in one line, a word for its value, its default."""

    help: str
    metavar: str = ""
    default: object = None


class Choices(TypedDict, total=False):
    """What decides the bytes of a conversion. Sizes are numbers of bytes, or text in powers of 1000: "48G", "1.2T".

    `type` "auto" is what the target's own converter makes, "source" the smallest type that holds each tensor exactly.
    `tensor_types` are "PATTERN=TYPE", one or several, as llama-quantize has them, or a mapping from pattern to type:
    the first regular expression that matches a tensor's name counts. Those of `tensor_type_file`, one or several to a
    line, come after them, then those of `recipe` (`deepgguf.recipes.recipe_file`), which names the type too. `like` is
    as a recipe of the types in another file; `budget` chooses types instead. `mtp` None is what the target's own
    converter does. `drop` are regular expressions for names in the checkpoint. `part` is the number of a file, or "I/N"
    for a task of N that share a split set (docs/cluster.md): its files are made one by one, those that are there and
    complete are left, and what an interrupted run left is resumed. `include_weights` and `exclude_weights`
    are parts of tensors' names, `override_kv`
    "KEY=TYPE:VALUE" with int, float, bool or str as TYPE.
    """

    target: Annotated[Target, Choice("the engine that will run it", "ENGINE", "ollama")]
    type: Annotated[
        str, Choice("auto, source, f32, f16, bf16, or a quantized type such as q8_0 or q4_k_m", "TYPE", "auto")
    ]
    recipe: Annotated[
        StrPath | None, Choice("take types from a recipe file, or from one of deepgguf's own by name", "FILE")
    ]
    like: Annotated[StrPath | None, Choice("take every tensor's type from a GGUF file, here or at hf:…", "FILE")]
    budget: Annotated[int | str | None, Choice("choose types so that all files fit in SIZE: 108G, 1.2T, …", "SIZE")]
    write_recipe: Annotated[StrPath | None, Choice("write the types that `budget` chose as a recipe file", "FILE")]
    only: Annotated[
        Literal["text", "mmproj"] | None, Choice("write only one file of a model with vision", "text|mmproj")
    ]
    mtp: Annotated[
        Mtp | None,
        Choice("multi-token prediction layers (default: as the target's converter does)", "keep|drop|only"),
    ]
    draft: Annotated[bool, Choice("write only the draft model that comes with this one (DSpark)", default=False)]
    drop: Annotated[
        str | Sequence[str],
        Choice("leave out tensors whose names in the checkpoint match a regular expression", "PATTERN", ()),
    ]
    split_max_size: Annotated[int | str | None, Choice("split into files of at most SIZE: 48G, 500M, …", "SIZE")]
    split_max_tensors: Annotated[int | None, Choice("split into files of at most N tensors", "N")]
    part: Annotated[
        int | str | None, Choice("write only file K of a split set, from 1, or its files I, I+N, I+2N, …", "K|I/N")
    ]
    imatrix: Annotated[
        StrPath | None, Choice("an importance matrix, GGUF or the older format, here or at hf:…", "FILE")
    ]
    include_weights: Annotated[
        str | Sequence[str], Choice("use the importance matrix only for tensors with TEXT in their name", "TEXT", ())
    ]
    exclude_weights: Annotated[
        str | Sequence[str], Choice("do not use the importance matrix for tensors with TEXT in their name", "TEXT", ())
    ]
    tensor_types: Annotated[
        str | Sequence[str] | Mapping[str, str],
        Choice("the type of the tensors that PATTERN matches", "PATTERN=TYPE", ()),
    ]
    tensor_type_file: Annotated[
        StrPath | None, Choice("a file of PATTERN=TYPE entries, separated by white space", "FILE")
    ]
    output_tensor_type: Annotated[str | None, Choice("the type of output.weight", "TYPE")]
    token_embedding_type: Annotated[str | None, Choice("the type of token_embd.weight", "TYPE")]
    pure: Annotated[bool, Choice("give every tensor the chosen type, without a mixture's exceptions", default=False)]
    leave_output_tensor: Annotated[bool, Choice("leave output.weight unquantized", default=False)]
    override_kv: Annotated[
        str | Sequence[str], Choice("set a key of the file; TYPE is int, float, bool or str", "KEY=TYPE:VALUE", ())
    ]
    pre: Annotated[str | None, Choice("the pre-tokenizer, by its name in llama.cpp, such as deepseek-v3", "NAME")]
    chat_template: Annotated[
        StrPath | None, Choice("a chat template in Jinja to use instead of the checkpoint's", "FILE")
    ]


class RunChoices(TypedDict, total=False):
    """What decides how a plan is carried out; none of it changes a byte of the GGUF files.

    Without `resume` or `restart` it is an error to find what an interrupted run left. With `resume` an output that is
    complete, by the manifest of the same plan, sources and version beside it, is left as it is; its data are not read.
    `manifest` is FILE.gguf.json.
    """

    jobs: Annotated[int | None, Choice("number of threads (default: the processors that this process may use)", "N")]
    overwrite: Annotated[bool, Choice("replace an existing output", default=False)]
    resume: Annotated[bool, Choice("resume an interrupted run; a complete output is left as it is", default=False)]
    restart: Annotated[bool, Choice("discard what an interrupted run left, and start over", default=False)]
    allow_nonfinite: Annotated[bool, Choice("convert NaN and Inf as they are, instead of stopping", default=False)]
    manifest: Annotated[bool, Choice("write FILE.gguf.json with the digests of all tensors", default=True)]
    measure_error: Annotated[bool, Choice("measure the quantization error of every tensor", default=False)]
    sha256: Annotated[bool, Choice("report the SHA-256 of each file", default=False)]


class QuantizeChoices(Choices, total=False):
    """What decides the bytes of a file that is made of a GGUF file: those of CHOICES_OF_QUANTIZE, and two more.

    `keep_split` makes as many files as the source has.
    """

    allow_requantize: Annotated[bool, Choice("quantize weights again that are quantized already", default=False)]
    keep_split: Annotated[
        bool, Choice("write as many files as the source has, each with the same tensors", default=False)
    ]


class QuantizationChoices(QuantizeChoices, RunChoices, total=False):
    """All that `deepgguf.quantize` takes."""


class PatchChoices(TypedDict, total=False):
    """What is to become of a GGUF file whose weights stay: keys that are set or removed, attention that is cut.

    `checkpoint` is a folder or an address with config.json and the tokenizer's files; what these say of groups of
    experts, special tokens and the chat template is set. `mend` is all that `doctor` finds and can mend.
    """

    mend: Annotated[bool, Choice("mend what `deepgguf doctor` finds", default=False)]
    checkpoint: Annotated[
        StrPath | None, Choice("set what the small files of a checkpoint say and this file lacks", "SRC")
    ]
    override_kv: Annotated[
        str | Sequence[str], Choice("set a key of the file; TYPE is int, float, bool or str", "KEY=TYPE:VALUE", ())
    ]
    remove_key: Annotated[str | Sequence[str], Choice("remove a key", "KEY", ())]
    pre: Annotated[str | None, Choice("the pre-tokenizer, by its name in llama.cpp, such as deepseek-v3", "NAME")]
    chat_template: Annotated[StrPath | None, Choice("a chat template in Jinja", "FILE")]
    architecture: Annotated[str | None, Choice("another name for the architecture, and for its keys", "NAME")]
    split_kv_b: Annotated[bool, Choice("cut attn_kv_b into attn_k_b and attn_v_b, into a new file", default=False)]


class PatchingChoices(PatchChoices, RunChoices, total=False):
    """All that `deepgguf.patch` takes."""


class ConversionChoices(Choices, RunChoices, total=False):
    """All that `deepgguf.convert` takes: what decides the bytes, and how they are made."""


AnyChoices = type[Choices] | type[RunChoices] | type[PatchChoices]

CHOICES_OF_A_FILE = (
    "target", "type", "recipe", "drop", "imatrix", "include_weights", "exclude_weights", "tensor_types",
    "tensor_type_file", "output_tensor_type", "token_embedding_type", "pure", "leave_output_tensor", "override_kv",
    "pre", "chat_template",
)  # fmt: skip
"""What a finished file may need to be told again of its conversion; the rest (names, how it was split) it shows."""


CHOICES_OF_QUANTIZE = (
    "type", "recipe", "target", "split_max_size", "split_max_tensors", "part", "imatrix", "include_weights",
    "exclude_weights", "tensor_types", "tensor_type_file", "output_tensor_type", "token_embedding_type", "pure",
    "leave_output_tensor", "override_kv", "allow_requantize", "keep_split",
)  # fmt: skip
"""What may be chosen of a file that is made of a GGUF file; the rest is as its source has it."""


class Declared(NamedTuple):
    """A choice as it is declared: its type, the members of that but None, the allowed values if they are few."""

    choice: Choice
    hint: Any
    types: tuple[Any, ...]
    allowed: tuple[str, ...]


def declared(choices: AnyChoices) -> dict[str, Declared]:
    """The declaration of every choice, by name."""
    found = {}
    for name, hint in get_type_hints(choices, include_extras=True).items():
        annotated, choice = get_args(hint)
        types = tuple(t for t in _members(annotated) if t is not NoneType)
        found[name] = Declared(choice, annotated, types, _allowed(types))
    return found


def complete(choices: Mapping[str, Any], of: AnyChoices) -> dict[str, Any]:
    """The choices with the defaults of those that were not made.

    TypeError for a name that is not declared, as Python has it; UsageError for a value that is not allowed.
    """
    known = declared(of)
    for name, value in choices.items():
        if name not in known:
            raise TypeError(f"{name!r} is not a choice; choose from {', '.join(known)}")
        _check(name, value, known[name].hint)
    return {name: entry.choice.default for name, entry in known.items()} | dict(choices)


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`function`, which refuses with UsageError what its signature does not allow; `**choices` are for `complete`."""
    parameters = signature(function).parameters.values()
    hints = {p.name: p.annotation for p in parameters if p.kind is not p.VAR_KEYWORD and p.annotation is not p.empty}

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = signature(function).bind(*args, **kwargs).arguments
        for name in hints.keys() & given.keys():
            _check(name, given[name], hints[name])
        return function(*args, **kwargs)

    return call


# What a caller may give, in words; other types go by their name.
_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    str: "text",
    bool: "True or False",
    os.PathLike: "a path",
    Sequence: "a list of texts",
    Mapping: "a mapping of texts",
    Callable: "a function",
}
_MOST = 2**63 - 1
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes (limits.h: NAME_MAX, PATH_MAX)


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union; the type itself if it is none."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def check_number(name: str, value: object) -> None:
    """UsageError unless `value` is a whole number from 1, as every choice that is a number must be."""
    _check(name, value, int)


def _check(name: str, value: object, hint: Any) -> None:
    """UsageError unless `value` is what the argument `name` may be by its type."""
    where, members = f"`{name}`", _members(hint)
    allowed = _allowed(members)
    kinds = [get_origin(t) or t for t in members if t is not NoneType]
    if value is None and NoneType in members:
        return
    if allowed:
        if not isinstance(value, str) or value not in allowed:
            raise UsageError(where, f"{_shown(value)} is unknown", f"choose from {', '.join(allowed)}")
        return
    fits = isinstance(value, tuple(kinds)) and not (isinstance(value, bool) and bool not in kinds)
    if not fits or not _holds(value, members):
        words = " or ".join(_WORDS.get(kind, kind.__name__) for kind in _named(members))
        raise UsageError(where, f"{_shown(value)} is not {words}", "give a number from 1" if int in kinds else "")
    if int in kinds and isinstance(value, int) and not 1 <= value <= _MOST:
        raise UsageError(where, "must be " + (f"at least 1, not {_shown(value)}" if value < 1 else "at most 2^63 - 1"))
    if os.PathLike in kinds and isinstance(value, str | os.PathLike):
        _check_path(where, value)


def _named(members: Sequence[Any]) -> list[Any]:
    """What a value may be, as it is called in an error; of a list of no texts that is what is in it."""
    kinds = [(get_origin(t) or t, get_args(t)) for t in members if t is not NoneType]
    return [args[0] if kind is Sequence and args[0] not in (str, StrPath) else kind for kind, args in kinds]


def _allowed(members: Sequence[Any]) -> tuple[str, ...]:
    return next((get_args(t) for t in members if get_origin(t) is Literal), ())


def _holds(value: object, members: Sequence[Any]) -> bool:
    """Whether a list or a mapping holds nothing but what it may; of other values nothing is asked."""
    lists = [t for t in members if get_origin(t) is Sequence]
    kinds = tuple({get_origin(kind) or kind for t in lists for item in get_args(t) for kind in _members(item)}) or str
    items = [*value, *value.values()] if isinstance(value, Mapping) else value if isinstance(value, Sequence) else ()
    return not isinstance(value, bytes | bytearray) and all(isinstance(item, kinds) for item in items)


def _check_path(where: str, path: StrPath) -> None:
    """UsageError for what no file system has as a path."""
    text: object = os.fspath(path)
    if not isinstance(text, str):
        raise UsageError(where, f"{_shown(text)} is a path of bytes", "give it as text, see os.fsdecode")
    if not text:
        raise UsageError(where, "must be a path, and is empty")
    if "\0" in text:
        raise UsageError(where, f"{text!r} holds a NUL, which no path does")
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        raise UsageError(where, f"{text!a} has a character that no file name here can have") from None
    name = max(map(len, encoded.split(os.fsencode(os.sep))))
    if name > _LONGEST_NAME or len(encoded) > _LONGEST_PATH:
        length = f"a name of {name} bytes in a path of {len(encoded)}"
        raise UsageError(where, f"{length}, and file systems have {_LONGEST_NAME} and {_LONGEST_PATH}", "shorten it")


def _shown(value: object) -> str:
    if isinstance(value, int) and abs(value) > _MOST:
        return "a number beyond 2^63"
    return repr(value) if isinstance(value, str | bytes | int | float | None) else f"a {type(value).__name__}"


def parse_size(size: int | str, choice: str = "split_max_size") -> int:
    """Bytes: a number, or text such as "48G", "1.2T", "1024K", in powers of 1000 as llama-gguf-split has them."""
    whole, decimals, unit = found.groups("") if (found := _SIZE.fullmatch(str(size))) else ("0", "", "")
    parts: int = 10 ** len(decimals)
    nbytes, rest = divmod(int(whole + decimals) * _UNITS[unit], parts)
    if not nbytes or rest:
        raise UsageError(f"`{choice}`", f"{size!r} is not a size", "give one such as 48G or 1.2T")
    return nbytes
