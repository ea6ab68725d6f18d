"""The tokenizer.* keys. The targets differ in padding, in token types and in scores; everything else is shared."""

import enum
from itertools import count, islice

from deepgguf.checkpoint.tokenizer import Tokenizer
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.models.values import array, boolean, present, string, uint32

_MOST_PADDING = 1 << 20  # tokens; every one of them takes memory, and a number in config.json costs nothing


class TokenType(enum.IntEnum):
    """llama.h, enum llama_token_type."""

    NORMAL = 1
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5


def ollama_tokenizer_keys(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Value]:
    """As Ollama's convert/tokenizer.go has them: padding counted from the first missing token, scores."""
    padding = _padding(tokenizer, vocab_size, 0)
    types = [_added_type(tokenizer, i) or TokenType.NORMAL for i in range(len(tokenizer.tokens))]
    own = {
        "tokens": array(ValueType.STRING, [*tokenizer.tokens, *padding]),
        "token_type": array(ValueType.INT32, [int(t) for t in types] + [int(TokenType.USER_DEFINED)] * len(padding)),
        "scores": array(ValueType.FLOAT32, [float(i) for i in range(len(tokenizer.tokens))] + [-1.0] * len(padding)),
    }
    return present(own, "tokenizer.ggml.") | _shared_keys(tokenizer)


def llamacpp_tokenizer_keys(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Value]:
    """As llama.cpp's conversion/base.py, get_vocab_base, has them: padding named by its id, no scores."""
    padding = _padding(tokenizer, vocab_size, len(tokenizer.tokens))
    types = [_llamacpp_type(tokenizer, i, content) for i, content in enumerate(tokenizer.tokens)]
    own = {
        "tokens": array(ValueType.STRING, [*tokenizer.tokens, *padding]),
        "token_type": array(ValueType.INT32, [int(t) for t in types] + [int(TokenType.UNUSED)] * len(padding)),
    }
    return present(own, "tokenizer.ggml.") | _shared_keys(tokenizer)


def _padding(tokenizer: Tokenizer, vocab_size: int, first: int) -> list[str]:
    """Tokens up to `vocab_size`, numbered from `first`; the names that the tokenizer has itself are left out."""
    missing = vocab_size - len(tokenizer.tokens)
    if missing < 0:
        found = f"{len(tokenizer.tokens)} tokens, but config.json has vocab_size {vocab_size}"
        raise CheckpointError("tokenizer.json", found, "the tokenizer belongs to another model")
    if missing > _MOST_PADDING:
        found = f"{len(tokenizer.tokens)} tokens, {missing} fewer than config.json's vocab_size {vocab_size}"
        raise CheckpointError("tokenizer.json", found, "the tokenizer belongs to another model")
    taken = {token for token in tokenizer.tokens if token.startswith("[PAD")}
    return list(islice((name for i in count(first) if (name := f"[PAD{i}]") not in taken), missing))


def _added_type(tokenizer: Tokenizer, id: int) -> TokenType | None:
    special = tokenizer.added.get(id)
    return None if special is None else TokenType.CONTROL if special else TokenType.USER_DEFINED


def _llamacpp_type(tokenizer: Tokenizer, id: int, content: str) -> TokenType:
    kind = _added_type(tokenizer, id)
    return TokenType.CONTROL if kind is TokenType.USER_DEFINED and _looks_special(content) else kind or TokenType.NORMAL


def _looks_special(content: str) -> bool:
    """llama.cpp's does_token_look_special, as far as DeepSeek's tokens go."""
    return content.startswith(("<|", "<｜")) and content.endswith(("|>", "｜>"))


def _shared_keys(tokenizer: Tokenizer) -> dict[str, Value]:
    ids = {f"{name}_token_id": uint32(id) for name, id in tokenizer.special_ids.items()}
    lists = {f"{name}_token_ids": array(ValueType.INT32, ids) for name, ids in tokenizer.special_id_lists.items()}
    shared = {
        "model": string("gpt2"),
        "pre": string(tokenizer.pre),
        "merges": array(ValueType.STRING, tokenizer.merges),
        "add_bos_token": boolean(tokenizer.add_bos),
        "add_eos_token": boolean(tokenizer.add_eos),
        **ids,
        **lists,
    }
    return present(shared, "tokenizer.ggml.") | present({"tokenizer.chat_template": string(tokenizer.chat_template)})
