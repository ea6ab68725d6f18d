"""The tokenizer of a checkpoint: tokenizer.json, tokenizer_config.json, generation_config.json, chat_template.jinja.

Nothing here is run: patterns are hashed and compared, templates are carried as text.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from deepgguf.errors import CheckpointError, printable
from deepgguf.files.files import Files
from deepgguf.formats.json_text import LARGE_FILE, SMALL_FILE, read_json
from deepgguf.formats.whole_file import read_text

_T = TypeVar("_T")

_TOKENIZER, _CONFIG, _GENERATION = "tokenizer.json", "tokenizer_config.json", "generation_config.json"
_TEMPLATE = "chat_template.jinja"

# SHA-256 over the patterns of the Split steps; the names are those of llama.cpp (llama-vocab.cpp, tokenizer_pre).
PRE_TOKENIZERS = {
    "3e41884740914736a01647a8d1d6426e0e5aed47b7fdb19dfb81d31e3653a502": "deepseek-v3",
    "03df5c5863ad70781dcfdef491ead25140f895fe8010964be0daefe27be32b02": "deepseek-llm",
    "21cde974d587f0d54dc8d56b183cc1e6239600172035c68fbd6d4b9f8da0576e": "deepseek-coder",
}
FALLBACK_PRE_TOKENIZER = "deepseek-v3"

# tokenizer_config.json's name of a special token -> its name in GGUF keys.
SPECIAL_TOKENS = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}

_Id = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _AddedToken(msgspec.Struct, frozen=True):
    id: _Id
    content: str
    special: bool = False


class _Model(msgspec.Struct, frozen=True):
    type: str
    vocab: dict[str, _Id]
    merges: list[str | tuple[str, str]]


class _TokenizerJson(msgspec.Struct, frozen=True):
    model: _Model
    added_tokens: list[_AddedToken] = []
    pre_tokenizer: object = None


class _NamedToken(msgspec.Struct, frozen=True):
    content: str


class _NamedTemplate(msgspec.Struct, frozen=True):
    name: str
    template: str


class _TokenizerConfig(msgspec.Struct, frozen=True):
    bos_token: str | _NamedToken | None = None
    eos_token: str | _NamedToken | None = None
    pad_token: str | _NamedToken | None = None
    unk_token: str | _NamedToken | None = None
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    chat_template: str | list[_NamedTemplate] | None = None


_TokenIds = _Id | list[_Id] | None


class _GenerationConfig(msgspec.Struct, frozen=True):
    bos_token_id: _TokenIds = None
    eos_token_id: _TokenIds = None
    pad_token_id: _TokenIds = None
    unk_token_id: _TokenIds = None


class Tokenizer(msgspec.Struct, frozen=True):
    """A byte-level BPE tokenizer.

    `tokens[i]` is the content of id i, without gaps; `added` maps an added token's id to whether it is special;
    `merges` are pairs joined by one space; `pre` is the pre-tokenizer's name in GGUF and `pre_digest` the hash of its
    patterns, with `pre_known` false if it is not one that the engines know. `special_ids` and
    `special_id_lists` go by GGUF's names (bos, eos, padding, unknown).
    """

    tokens: tuple[str, ...]
    added: dict[int, bool]
    merges: tuple[str, ...]
    pre: str
    pre_digest: str
    pre_known: bool
    special_ids: dict[str, int]
    special_id_lists: dict[str, tuple[int, ...]]
    add_bos: bool | None
    add_eos: bool | None
    chat_template: str | None


def read_tokenizer(files: Files) -> tuple[Tokenizer, tuple[str, ...]]:
    """The tokenizer of a checkpoint, and a warning if generation_config.json cannot be used.

    Raises CheckpointError if the tokenizer is missing, damaged or contradictory.
    """
    names = files.names()
    if _TOKENIZER not in names:
        tiktoken = next((name for name in names if "tiktoken" in name), None)
        has = f"there is only {tiktoken}, a tiktoken file" if tiktoken else "there is none"
        raise CheckpointError(_TOKENIZER, f"is required, and {has}", "add the tokenizer.json of this model")
    raw = _read(files, _TOKENIZER, _TokenizerJson, LARGE_FILE)
    if raw.model.type != "BPE":
        found = f"model.type is {raw.model.type!r}, expected 'BPE'"
        raise CheckpointError(_TOKENIZER, found, "only BPE tokenizers are known")
    config = _read(files, _CONFIG, _TokenizerConfig) if _CONFIG in names else _TokenizerConfig()
    generation, warnings = _read_generation(files) if _GENERATION in names else (_GenerationConfig(), ())
    digest = _pattern_digest(raw.pre_tokenizer)
    special_ids = _special_ids(config, raw.added_tokens)
    tokenizer = Tokenizer(
        tokens=_tokens(raw),
        added={t.id: t.special for t in raw.added_tokens},
        merges=_merges(raw.model),
        pre=PRE_TOKENIZERS.get(digest, FALLBACK_PRE_TOKENIZER),
        pre_digest=digest,
        pre_known=digest in PRE_TOKENIZERS,
        special_ids=special_ids,
        special_id_lists=_special_id_lists(generation, special_ids),
        add_bos=config.add_bos_token,
        add_eos=config.add_eos_token,
        chat_template=_chat_template(config, files),
    )
    return tokenizer, warnings


def _read(files: Files, name: str, type: type[_T], cap: int = SMALL_FILE) -> _T:
    try:
        return msgspec.convert(read_json(files, name, cap), type)
    except msgspec.ValidationError as error:
        raise CheckpointError(name, str(error), "the file is not what transformers writes") from None


def _read_generation(files: Files) -> tuple[_GenerationConfig, tuple[str, ...]]:
    """What engines can do without: its lists of tokens that end a text."""
    try:
        return _read(files, _GENERATION, _GenerationConfig), ()
    except CheckpointError as error:
        return _GenerationConfig(), (f"{error.where}: {error.found}; nothing of it is written into the file",)


def _tokens(raw: _TokenizerJson) -> tuple[str, ...]:
    """Contents by id: the vocabulary and the added tokens, which must agree, without a gap."""
    by_id: dict[int, str] = {}
    added = ((t.content, t.id) for t in raw.added_tokens)
    for source, pairs in (("model.vocab", raw.model.vocab.items()), ("added_tokens", added)):
        for content, id in pairs:
            if by_id.setdefault(id, content) != content:
                both = f"{printable(by_id[id])!r} and {printable(content)!r}"
                raise CheckpointError(_TOKENIZER, f"{source}: id {id} is given twice, to {both}", "ids must be unique")
    if not by_id:
        raise CheckpointError(_TOKENIZER, "the vocabulary is empty", "use the tokenizer.json of this model")
    missing = next((i for i in range(len(by_id)) if i not in by_id), None)
    if missing is not None:
        found = f"id {missing} is missing, though ids go up to {max(by_id)}"
        raise CheckpointError(_TOKENIZER, found, "ids must be without gaps")
    tokens = tuple(by_id[i] for i in range(len(by_id)))
    _check_distinct(tokens)
    return tokens


def _check_distinct(tokens: tuple[str, ...]) -> None:
    """llama.cpp aborts unless there are as many texts as ids (llama-vocab.cpp, load), and names an empty one itself."""
    texts = set(tokens)
    if len(texts) == len(tokens) and "" not in texts:
        return
    ids: dict[str, int] = {}
    for id, content in enumerate(tokens):
        text = content or f"[EMPTY_{id}]"
        if text in ids:
            found = f"ids {ids[text]} and {id} have the same text, {printable(text)!r}"
            raise CheckpointError(_TOKENIZER, found, "llama.cpp aborts on such a vocabulary; give one another text")
        ids[text] = id


def _merges(model: _Model) -> tuple[str, ...]:
    """Merges as "left right"; each half, and what they make, must be in the vocabulary, and neither holds a space."""
    vocab = model.vocab
    joined: list[str] = []
    for merge in model.merges:
        text = merge if isinstance(merge, str) else " ".join(merge)
        left, _, right = text.partition(" ")
        if left not in vocab or right not in vocab or left + right not in vocab or " " in right:
            found = f"merge {len(joined)} {merge!r}: a half of it or what they make is not in the vocabulary"
            raise CheckpointError(_TOKENIZER, found, "use the tokenizer.json of this model")
        joined.append(text)
    return tuple(joined)


def _pattern_digest(pre_tokenizer: object) -> str:
    """SHA-256 over the Split patterns in order, nothing between."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer]) if isinstance(pre_tokenizer, Mapping) else []
    digest = hashlib.sha256()
    for step in steps if isinstance(steps, list) else []:
        pattern = step.get("pattern") if isinstance(step, Mapping) and step.get("type") == "Split" else None
        regex = pattern.get("Regex") if isinstance(pattern, Mapping) else None
        if isinstance(regex, str):
            digest.update(regex.encode())
    return digest.hexdigest()


def _special_ids(config: _TokenizerConfig, added: list[_AddedToken]) -> dict[str, int]:
    ids = {t.content: t.id for t in reversed(added)}
    found = {}
    for name, key in SPECIAL_TOKENS.items():
        token = getattr(config, f"{name}_token")
        content = token.content if isinstance(token, _NamedToken) else token
        if content in ids:
            found[key] = ids[content]
    return found


def _special_id_lists(generation: _GenerationConfig, special_ids: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Lists in generation_config.json, for the special tokens that the tokenizer has (Ollama: convert/tokenizer.go)."""
    lists = {key: getattr(generation, f"{name}_token_id") for name, key in SPECIAL_TOKENS.items()}
    return {key: tuple(ids) for key, ids in lists.items() if isinstance(ids, list) and key in special_ids}


def _chat_template(config: _TokenizerConfig, files: Files) -> str | None:
    template = config.chat_template
    if isinstance(template, list):
        template = next((t.template for t in template if t.name == "default"), None)
    return read_text(files, _TEMPLATE, SMALL_FILE) if template is None and _TEMPLATE in files.names() else template
