"""What a model's name says: organization, base name, version, size, finetune.

The rules are those of llama.cpp (gguf-py, metadata.py: get_model_id_components, id_to_title; utility.py: size_label),
so that a file is labelled alike whichever program wrote it.
"""

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

_VERSION = re.compile(r"(v|iter)?\d+([.]\d+)*", re.IGNORECASE)
_TYPE = re.compile(r"i?q\d(_\w)*|b?fp?(16|32)", re.IGNORECASE)
_SIZE = re.compile(r"(([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl)", re.IGNORECASE)
_FINETUNE = re.compile(r"chat|instruct|vision|lora", re.IGNORECASE)
_KEEPS_LOWER_CASE = re.compile(r"v\d+(?:\.\d+)*|\d.*")
# A unit, the number of parameters above which it is used, and the factor that turns them into it.
_UNITS = (("T", 10**12, 1e-12), ("B", 10**9, 1e-9), ("M", 10**6, 1e-6))
_THOUSANDS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}

_Kind = Literal["version", "type", "size", "finetune", "base", "base version"]


class NameParts(msgspec.Struct, frozen=True):
    """A model's name taken apart; None where it does not say."""

    name: str
    organization: str | None = None
    basename: str | None = None
    finetune: str | None = None
    version: str | None = None
    size_label: str | None = None


class _Part(msgspec.Struct, frozen=True):
    text: str
    kind: _Kind | None


def name_parts(model_id: str, parameters: int = 0) -> NameParts:
    """`ORGANIZATION/NAME` or `NAME` taken apart at its hyphens.

    `parameters`, if known, tells a size (70B) from a context length (32K): what is far from it is not a size.
    """
    if " " in model_id:
        return NameParts(model_id)
    organization, slash, name = model_id.partition("/")
    if not slash:
        organization, name = "", model_id
    parts = [_recognized(text, i, parameters) for i, text in enumerate(filter(None, name.split("-")))]
    parts = _with_base(_without_word_sizes(parts))
    size = "-".join(dict.fromkeys(part.text for part in parts if part.kind == "size")) or None
    finetune, version = _joined(parts, "finetune"), _joined(parts, "version")
    # A name of one kind of part only could mean anything.
    known = size or finetune or version
    return NameParts(
        name=name,
        organization=organization if organization and not organization.startswith(".") else None,
        basename=_joined(parts, "base", "base version") if known else None,
        finetune=finetune,
        version=version,
        size_label=size,
    )


def title(text: str) -> str:
    """`text` with spaces for hyphens and capital initials, but for versions, numbers, and words that have capitals."""
    words = text.strip().replace("-", " ").split()
    return " ".join(w.title() if w.islower() and not _KEEPS_LOWER_CASE.fullmatch(w) else w for w in words)


def size_label(total: int, shared: int, expert: int, experts: int) -> str:
    """The size for a label, in parameters: `70B`, or for a mixture of experts `256x13B`.

    `expert` counts one expert of each block, `shared` all that is not in experts; the label of a mixture is the number
    of experts and what a model with one expert would have.
    """
    return f"{experts}x{_rounded(shared + expert)}" if experts > 0 else _rounded(total)


def _rounded(parameters: int) -> str:
    """At least two significant digits, and the unit."""
    unit, scale = next(((unit, scale) for unit, above, scale in _UNITS if parameters > above), ("K", 1e-3))
    scaled = parameters * scale
    decimals = max(2 - len(str(round(scaled)).lstrip("0")), 0)
    return f"{scaled:.{decimals}f}{unit}"


def _recognized(text: str, index: int, parameters: int) -> _Part:
    """What a part is by itself, if that shows."""
    if _VERSION.fullmatch(text):
        return _Part(text, "version")
    if _TYPE.fullmatch(text):
        return _Part(text.upper(), "type")
    if index > 0 and _SIZE.fullmatch(text):
        return _size_or_context(text, parameters)
    if index > 0 and _FINETUNE.fullmatch(text):
        return _Part(text, "finetune")
    return _Part(text, None)


def _size_or_context(text: str, parameters: int) -> _Part:
    size = text.replace("_", ".")
    if size[-1].isdecimal():  # bloom-7b1
        size = f"{size[:-2]}.{size[-1]}{size[-2]}"
    if size[-2].isdecimal():
        size = size[:-1] + size[-1].upper()
    stated = _stated_parameters(size)
    if parameters and stated is not None and abs(stated - parameters) > 7 * parameters // 8:
        return _Part(size[:-1] + size[-1].lower(), "finetune")
    return _Part(size, "size")


def _stated_parameters(size: str) -> float | None:
    """70B as a number; None for words, 8x7B and A3B, which say something else."""
    try:
        return float(size[:-1]) * _THOUSANDS[size[-1]]
    except (ValueError, KeyError):
        return None


def _without_word_sizes(parts: Sequence[_Part]) -> list[_Part]:
    """Words such as `mini` are sizes only where no number is."""
    numbered = any(part.kind == "size" and any(map(str.isdecimal, part.text)) for part in parts)
    return [_Part(p.text, None) if numbered and p.kind == "size" and p.text.isalpha() else p for p in parts]


def _with_base(parts: Sequence[_Part]) -> list[_Part]:
    """The leading words and versions are the base name, but for versions at the very end; later words are finetunes."""
    result: list[_Part] = []
    leading = True
    for part in parts:
        leading = leading and (part.kind == "version" or (part.kind is None and part.text[0].isalpha()))
        if leading:
            result.append(_Part(part.text, "base" if part.kind is None else "base version"))
        else:
            result.append(part if part.kind else _Part(part.text, "finetune"))
    for i in reversed(range(len(result))):
        if result[i].kind != "base version":
            break
        result[i] = _Part(result[i].text, "version")
    return result


def _joined(parts: Sequence[_Part], *kinds: _Kind) -> str | None:
    return "-".join(part.text for part in parts if part.kind in kinds) or None
