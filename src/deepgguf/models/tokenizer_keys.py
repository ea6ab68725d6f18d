"""The tokenizer.* keys. The targets differ in padding, in token types and in scores; everything else is shared."""

import enum
from collections.abc import Mapping
from itertools import chain, repeat

from deepgguf.checkpoint.chat_templates import DEFAULT
from deepgguf.checkpoint.tokenizer import Tokenizer
from deepgguf.errors import CheckpointError, printable
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.models.values import array, boolean, present, string, uint32

_MOST_PADDING = 1 << 20  # tokens; every one of them takes memory, and a number in config.json costs nothing
_SHOWN = 8  # of the tokens that a message names


class TokenType(enum.IntEnum):
    """llama.h, enum llama_token_type."""

    NORMAL = 1
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5


def ollama_tokenizer_keys(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Value]:
    """As Ollama's convert/tokenizer.go has them: padding counted from the first missing token, scores."""
    padding = _padding(tokenizer, vocab_size, by_id=False)
    tokens = _complete(tokenizer, padding, vocab_size)
    types = [TokenType.USER_DEFINED if i in padding else _added_type(tokenizer, i) for i in range(vocab_size)]
    own = {
        "tokens": array(ValueType.STRING, tokens),
        "token_type": array(ValueType.INT32, [int(t or TokenType.NORMAL) for t in types]),
        "scores": array(ValueType.FLOAT32, [-1.0 if i in padding else float(i) for i in range(vocab_size)]),
    }
    return present(own, "tokenizer.ggml.") | _shared_keys(tokenizer)


def llamacpp_tokenizer_keys(tokenizer: Tokenizer, vocab_size: int) -> dict[str, Value]:
    """As llama.cpp's conversion/base.py, get_vocab_base, has them: padding named by its id, no scores."""
    padding = _padding(tokenizer, vocab_size, by_id=True)
    tokens = _complete(tokenizer, padding, vocab_size)
    types = [TokenType.UNUSED if i in padding else _llamacpp_type(tokenizer, i, t) for i, t in enumerate(tokens)]
    own = {
        "tokens": array(ValueType.STRING, tokens),
        "token_type": array(ValueType.INT32, [int(t) for t in types]),
    }
    return present(own, "tokenizer.ggml.") | _shared_keys(tokenizer)


def _padding(tokenizer: Tokenizer, vocab_size: int, *, by_id: bool) -> dict[int, str]:
    """Texts for the ids below `vocab_size` that have none, in holes and at the end, numbered by their ids or from 0;
    the names that the tokenizer has itself are left out.
    """
    _check_size(tokenizer, vocab_size)
    taken = {token for token in tokenizer.tokens if token and token.startswith("[PAD")}
    holes = [id for id, token in enumerate(tokenizer.tokens) if token is None]
    texts: dict[int, str] = {}
    number = 0
    for id in (*holes, *range(len(tokenizer.tokens), vocab_size)):
        number = max(number, id) if by_id else number
        while f"[PAD{number}]" in taken:
            number += 1
        texts[id] = f"[PAD{number}]"
        number += 1
    return texts


def _complete(tokenizer: Tokenizer, padding: Mapping[int, str], vocab_size: int) -> list[str]:
    """The text of every id, in order."""
    own = chain(tokenizer.tokens, repeat(None, vocab_size - len(tokenizer.tokens)))
    return [padding[id] if token is None else token for id, token in enumerate(own)]


def _check_size(tokenizer: Tokenizer, vocab_size: int) -> None:
    count, where = len(tokenizer.tokens), "tokenizer_config.json" if tokenizer.tiktoken else "tokenizer.json"
    beyond = [id for id in range(vocab_size, count) if tokenizer.tokens[id] is not None]
    if beyond and all(id in tokenizer.added for id in beyond):
        named = ", ".join(f"{printable(tokenizer.tokens[id])!r} ({id})" for id in beyond[:_SHOWN])
        more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
        found = f"{count} tokens, but config.json has vocab_size {vocab_size}: tokens were added and the embedding was "
        advice = "remove them from the tokenizer, or save the model again after model.resize_token_embeddings"
        raise CheckpointError(where, f"{found}not resized, namely {named}{more}", advice)
    if beyond:
        found = f"{count} tokens, but config.json has vocab_size {vocab_size}"
        raise CheckpointError(where, found, "the tokenizer belongs to another model")
    if vocab_size - count > _MOST_PADDING:
        found = f"{count} tokens, {vocab_size - count} fewer than config.json's vocab_size {vocab_size}"
        raise CheckpointError(where, found, "the tokenizer belongs to another model")


def _added_type(tokenizer: Tokenizer, id: int) -> TokenType | None:
    special = tokenizer.added.get(id)
    return None if special is None else TokenType.CONTROL if special else TokenType.USER_DEFINED


def _llamacpp_type(tokenizer: Tokenizer, id: int, content: str) -> TokenType:
    """Of a tiktoken.model its converter takes all added tokens for control tokens (conversion/deepseek.py)."""
    kind = _added_type(tokenizer, id)
    control = kind is TokenType.USER_DEFINED and (tokenizer.tiktoken or _looks_special(content))
    return TokenType.CONTROL if control else kind or TokenType.NORMAL


def _looks_special(content: str) -> bool:
    """llama.cpp's does_token_look_special, as far as DeepSeek's tokens go."""
    return content.startswith(("<|", "<｜")) and content.endswith(("|>", "｜>"))


def _shared_keys(tokenizer: Tokenizer) -> dict[str, Value]:
    special = tokenizer.special
    ids = {f"{name}_token_id": uint32(id) for name, id in special.ids.items()}
    lists = {f"{name}_token_ids": array(ValueType.INT32, ids) for name, ids in special.id_lists.items()}
    shared = {
        "model": string("gpt2"),
        "pre": string(tokenizer.pre.name),
        "merges": array(ValueType.STRING, tokenizer.merges),
        "add_bos_token": boolean(special.add_bos),
        "add_eos_token": boolean(special.add_eos),
        **ids,
        **lists,
    }
    return present(shared, "tokenizer.ggml.") | present(_template_keys(tokenizer.chat_templates), "tokenizer.")


def _template_keys(templates: Mapping[str, str]) -> dict[str, Value | None]:
    """The default, those with names under them, and the list of these names (gguf-py: add_chat_template)."""
    named = {name: template for name, template in templates.items() if name != DEFAULT}
    return {
        "chat_template": string(templates.get(DEFAULT)),
        **{f"chat_template.{name}": string(template) for name, template in named.items()},
        "chat_templates": array(ValueType.STRING, list(named) or None),
    }
