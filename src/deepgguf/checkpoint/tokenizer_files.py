"""The files of a tokenizer as they are, each with its fields.

tokenizer.json is what transformers tokenizes by (or tiktoken.model, where there is only that), and
tokenizer_config.json decides keys: they must be sound. special_tokens_map.json, added_tokens.json and
generation_config.json only add to them: one that cannot be used is a warning.
"""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from deepgguf.checkpoint.tiktoken import (
    TIKTOKEN,
    TOKENIZER_CLASS,
    added_tokens,
    merges,
    read_ranks,
    text_of,
)
from deepgguf.checkpoint.tokenizer_code import SplitPattern, read_split_pattern
from deepgguf.errors import CheckpointError
from deepgguf.files.files import Files
from deepgguf.formats.json_text import LARGE_FILE, SMALL_FILE, read_json

TOKENIZER, CONFIG, GENERATION = "tokenizer.json", "tokenizer_config.json", "generation_config.json"
SPECIAL_MAP, ADDED = "special_tokens_map.json", "added_tokens.json"

_ORIGINAL = "take it from the original model"

LARGEST_ID = 2**31 - 1

Id = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_ID)]

_T = TypeVar("_T")


class AddedToken(msgspec.Struct, frozen=True):
    """A token beside the vocabulary of BPE."""

    id: Id
    content: str
    special: bool = False


class BpeModel(msgspec.Struct, frozen=True):
    """The vocabulary, and its merges as "left right" or as pairs."""

    type: str
    vocab: dict[str, Id]
    merges: list[str | tuple[str, str]]


class TokenizerJson(msgspec.Struct, frozen=True):
    """tokenizer.json."""

    model: BpeModel
    added_tokens: list[AddedToken] = []
    pre_tokenizer: object = None
    post_processor: object = None


class NamedToken(msgspec.Struct, frozen=True):
    """A special token as an object; only its text counts."""

    content: str


class NamedTemplate(msgspec.Struct, frozen=True):
    """One of several chat templates."""

    name: str
    template: str


Named = str | NamedToken | int | None
"""A special token: its text, or its id."""
Templates = str | list[NamedTemplate] | dict[str, str] | None
"""A chat template, or several by name."""


class SpecialTokens(msgspec.Struct, frozen=True):
    """What tokenizer_config.json and special_tokens_map.json call the special tokens."""

    bos_token: Named = None
    eos_token: Named = None
    pad_token: Named = None
    unk_token: Named = None
    sep_token: Named = None
    cls_token: Named = None
    mask_token: Named = None


class TokenizerConfig(SpecialTokens, frozen=True):
    """tokenizer_config.json; the keys of `added_tokens_decoder` are ids."""

    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    tokenizer_class: object = None
    chat_template: Templates = None
    added_tokens_decoder: object = None
    auto_map: object = None


TokenIds = int | list[int] | None
"""One id, or all that may stand for the token; a negative one is none."""


class GenerationConfig(msgspec.Struct, frozen=True):
    """generation_config.json."""

    bos_token_id: TokenIds = None
    eos_token_id: TokenIds = None
    pad_token_id: TokenIds = None
    unk_token_id: TokenIds = None
    sep_token_id: TokenIds = None
    cls_token_id: TokenIds = None
    mask_token_id: TokenIds = None


class TokenizerFiles(msgspec.Struct, frozen=True):
    """All of them; what is not there is as if it were empty. `added` has the texts of added_tokens.json.

    `tiktoken`: there is a tiktoken.model in place of tokenizer.json, and `tokenizer` is made of it; `pattern` is what
    the code beside it splits text by.
    """

    tokenizer: TokenizerJson
    config: TokenizerConfig
    special_map: SpecialTokens
    added: Mapping[str, Id]
    generation: GenerationConfig
    tiktoken: bool = False
    pattern: SplitPattern | None = None


def read_tokenizer_files(files: Files, vocab_size: object = None) -> tuple[TokenizerFiles, tuple[str, ...]]:
    """The files, and a warning for each that cannot be used and that engines can do without.

    `vocab_size` is config.json's. CheckpointError if tokenizer.json is missing, or it or tokenizer_config.json is
    damaged; so for a tiktoken.model, if that is there instead.
    """
    names = files.names()
    if TOKENIZER not in names and TIKTOKEN in names and CONFIG in names:
        config = _read(files, CONFIG, TokenizerConfig)
        if config.tokenizer_class == TOKENIZER_CLASS:
            return _of_tiktoken(files, config, vocab_size)
    if TOKENIZER not in names:
        tiktoken = next((name for name in names if "tiktoken" in name), None)
        has = f"there is only {tiktoken}, a tiktoken file" if tiktoken else "there is none"
        advice = "add the tokenizer.json of this model"
        if tiktoken:
            advice += f", or, for Kimi's tokenizer, its tokenizer_config.json, whose class is {TOKENIZER_CLASS}"
        raise CheckpointError(TOKENIZER, f"is required, and {has}", advice)
    tokenizer = _read(files, TOKENIZER, TokenizerJson, LARGE_FILE)
    if tokenizer.model.type != "BPE":
        found = f"model.type is {tokenizer.model.type!r}, expected 'BPE'"
        raise CheckpointError(TOKENIZER, found, "only BPE tokenizers are known")
    config = _read(files, CONFIG, TokenizerConfig) if CONFIG in names else TokenizerConfig()
    warnings: list[str] = []

    def optional(name: str, type: type[_T], without: _T) -> _T:
        try:
            return _read(files, name, type) if name in names else without
        except CheckpointError as error:
            warnings.append(f"{error.where}: {error.found}; nothing of it is written into the file")
            return without

    special_map = optional(SPECIAL_MAP, SpecialTokens, SpecialTokens())
    added = optional(ADDED, dict[str, Id], {})
    generation = optional(GENERATION, GenerationConfig, GenerationConfig())
    return TokenizerFiles(tokenizer, config, special_map, added, generation), tuple(warnings)


def _of_tiktoken(files: Files, config: TokenizerConfig, vocab_size: object) -> tuple[TokenizerFiles, tuple[str, ...]]:
    """llama.cpp's converter looks into no file but config.json for the special tokens of such a tokenizer."""
    ranks = read_ranks(files)
    model = BpeModel("BPE", {text_of(token): rank for rank, token in enumerate(ranks)}, list(merges(ranks)))
    added = [AddedToken(*token) for token in added_tokens(config.added_tokens_decoder, len(ranks), vocab_size)]
    nameless = msgspec.structs.replace(config, **dict.fromkeys(SpecialTokens.__struct_fields__))
    warnings = []
    if not (isinstance(config.added_tokens_decoder, Mapping) and config.added_tokens_decoder):
        warnings.append(f"{CONFIG}: has no added_tokens_decoder, so that no mark of a chat is a token: {_ORIGINAL}")
    pattern = None
    try:
        pattern = read_split_pattern(files, config.auto_map)
    except CheckpointError as error:
        found = "so nothing tells whether engines split text as the model does"
        warnings.append(f"{error.where}: {error.found}; {found}: {_ORIGINAL}")
    raw = TokenizerFiles(TokenizerJson(model, added), nameless, SpecialTokens(), {}, GenerationConfig(), True, pattern)
    return raw, tuple(warnings)


def _read(files: Files, name: str, type: type[_T], cap: int = SMALL_FILE) -> _T:
    try:
        return msgspec.convert(read_json(files, name, cap), type)
    except msgspec.ValidationError as error:
        raise CheckpointError(
            name, str(error), "the file is not what transformers writes; take it from the original model"
        ) from None
