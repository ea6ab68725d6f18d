"""The special tokens, and whether a text gets BOS and EOS, from every file where they can stand.

A token's id is looked for in this order; the first place that names a token of the vocabulary counts:

1. tokenizer_config.json, `NAME_token`: its text, or its id
2. special_tokens_map.json, `NAME_token`
3. tokenizer.json, `post_processor`: what its template puts before and after a text (BOS, EOS)
4. config.json, `NAME_token_id`, and that of the language model within it
5. generation_config.json, `NAME_token_id`

The first two say what transformers encodes with, the template what it adds, the last two what a model was configured
with. A negative id is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from deepgguf.checkpoint.nested_config import levels
from deepgguf.checkpoint.tiktoken import TIKTOKEN
from deepgguf.checkpoint.tokenizer_files import (
    CONFIG,
    GENERATION,
    LARGEST_ID,
    SPECIAL_MAP,
    TOKENIZER,
    Named,
    NamedToken,
    TokenizerConfig,
    TokenizerFiles,
)
from deepgguf.errors import printable

SPECIAL_TOKENS = {
    "bos": "bos",
    "eos": "eos",
    "pad": "padding",
    "unk": "unknown",
    "sep": "seperator",
    "cls": "cls",
    "mask": "mask",
}
"""transformers' name of a special token -> its name in GGUF keys (llama-arch.cpp, LLM_KV_NAMES)."""

# Classes that put BOS before a text unless add_bos_token says otherwise (transformers, tokenization_llama_fast.py).
_ADD_BOS = frozenset({"LlamaTokenizer", "LlamaTokenizerFast"})


class SpecialTokens(msgspec.Struct, frozen=True):
    """By GGUF's names: the id of every special token that is named somewhere, and all ids where a list is given.

    `add_bos` and `add_eos`: whether they are put around a text; None where nothing says.
    """

    ids: dict[str, int]
    id_lists: dict[str, tuple[int, ...]]
    add_bos: bool | None
    add_eos: bool | None


class _Ends(NamedTuple):
    """What a template puts before and after a text, "" for nothing."""

    first: str
    last: str


def read_special_tokens(
    files: TokenizerFiles, config: Mapping[str, object], tokens: Sequence[str | None]
) -> tuple[SpecialTokens, tuple[str, ...]]:
    """The special tokens of `tokens`, and a warning for BOS or EOS that a file names and `tokens` lack.

    `config` is config.json.
    """
    ends = _ends(files.tokenizer.post_processor)
    texts = {token: id for id, token in enumerate(tokens) if token is not None}
    ids: dict[str, int] = {}
    warnings = []
    for name, key in SPECIAL_TOKENS.items():
        nowhere = ""
        for place, named in _named(name, files, ends, config):
            id = texts.get(named) if isinstance(named, str) else named
            if id is not None and id < len(tokens) and tokens[id] is not None:
                ids[key] = id
                break
            nowhere = nowhere or f"{place} names {printable(str(named))!r} as {name.upper()}, which is not a token"
        if nowhere and name in ("bos", "eos"):
            instead = f"{ids[key]} is written" if key in ids else "none is written"
            vocabulary = TIKTOKEN if files.tiktoken else TOKENIZER
            warnings.append(f"{nowhere} of {vocabulary}; {instead} instead: take both from the same model")
    lists = {key: _id_list(name, files, config) for name, key in SPECIAL_TOKENS.items() if key in ids}
    add_bos, add_eos = _added_around(files.config, ends, ids, texts)
    return SpecialTokens(ids, {key: found for key, found in lists.items() if found}, add_bos, add_eos), tuple(warnings)


def _named(
    name: str, files: TokenizerFiles, ends: _Ends | None, config: Mapping[str, object]
) -> Iterator[tuple[str, str | int]]:
    """Places that name a special token, with its text or id."""
    for place, tokens in ((CONFIG, files.config), (SPECIAL_MAP, files.special_map)):
        named: Named = getattr(tokens, f"{name}_token")
        content = named.content if isinstance(named, NamedToken) else named
        if isinstance(content, str):
            yield place, content
        else:
            yield from ((place, id) for id in _ids(content)[:1])
    template = {"bos": ends.first, "eos": ends.last}.get(name) if ends else None
    if template:
        yield TOKENIZER, template
    for place, ids in _configured(name, files, config):
        yield from ((place, id) for id in _ids(ids)[:1])


def _configured(name: str, files: TokenizerFiles, config: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    yield from (("config.json", level.get(f"{name}_token_id")) for level in levels(config))
    yield GENERATION, getattr(files.generation, f"{name}_token_id")


def _id_list(name: str, files: TokenizerFiles, config: Mapping[str, object]) -> tuple[int, ...]:
    """The list of ids that stand for the token, if there is one: generation_config.json's, as Ollama has it
    (convert/tokenizer.go), else config.json's.
    """
    lists = [ids for _, ids in _configured(name, files, config) if isinstance(ids, list)]
    return _ids(lists[-1]) if lists else ()


def _ids(value: object) -> tuple[int, ...]:
    """The ids of a number or a list of numbers; none of anything else."""
    values = value if isinstance(value, list) else [value]
    return tuple(v for v in values if isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= LARGEST_ID)


def _added_around(
    config: TokenizerConfig, ends: _Ends | None, ids: Mapping[str, int], texts: Mapping[str, int]
) -> tuple[bool | None, bool | None]:
    """Whether BOS and EOS are added: as tokenizer_config.json says, else by the template, else by the class."""
    bos, eos = config.add_bos_token, config.add_eos_token
    if ends is not None:
        bos = texts.get(ends.first, -1) == ids.get("bos") if bos is None else bos
        eos = texts.get(ends.last, -1) == ids.get("eos") if eos is None else eos
    if bos is None and str(config.tokenizer_class) in _ADD_BOS and "bos" in ids:
        bos = True
    return bos, eos


def _ends(post_processor: object) -> _Ends | None:
    """What the first TemplateProcessing adds to a single text; None without one."""
    steps = post_processor.get("processors", [post_processor]) if isinstance(post_processor, Mapping) else []
    for step in steps if isinstance(steps, list) else []:
        single = step.get("single") if isinstance(step, Mapping) and step.get("type") == "TemplateProcessing" else None
        if isinstance(single, list) and single:
            return _Ends(_special(single[0]), _special(single[-1]))
    return None


def _special(piece: object) -> str:
    token = piece.get("SpecialToken") if isinstance(piece, Mapping) else None
    text = token.get("id") if isinstance(token, Mapping) else None
    return text if isinstance(text, str) else ""
