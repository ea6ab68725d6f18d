"""The texts of all ids: the vocabulary, and the tokens that were added to it, wherever a file names them."""

from collections.abc import Iterator, Mapping

from deepgguf.checkpoint.tokenizer_files import CONFIG, LARGEST_ID, TOKENIZER, AddedToken, BpeModel, TokenizerFiles
from deepgguf.errors import CheckpointError, printable

_MOST_HOLES = 1 << 20  # every one of them takes memory, and a number in a file costs nothing


def read_vocabulary(files: TokenizerFiles) -> tuple[tuple[str | None, ...], dict[int, bool]]:
    """The text of every id up to the largest, None where there is none, and of added tokens whether they are special.

    tokenizer.json decides; `added_tokens_decoder` of tokenizer_config.json, then added_tokens.json, add what it has
    neither as a text nor as an id. CheckpointError for an id with two texts and a text with two ids.
    """
    raw = files.tokenizer
    by_id: dict[int, str] = {}
    own = ((token.content, token.id) for token in raw.added_tokens)
    for source, pairs in (("model.vocab", raw.model.vocab.items()), ("added_tokens", own)):
        for content, id in pairs:
            if by_id.setdefault(id, content) != content:
                both = f"{printable(by_id[id])!r} and {printable(content)!r}"
                raise CheckpointError(TOKENIZER, f"{source}: id {id} is given twice, to {both}", "ids must be unique")
    if not by_id:
        raise CheckpointError(TOKENIZER, "the vocabulary is empty", "use the tokenizer.json of this model")
    added = {token.id: token.special for token in raw.added_tokens}
    texts = set(by_id.values())
    for token in _added_elsewhere(files):
        if token.id not in by_id and token.content not in texts:
            by_id[token.id] = token.content
            texts.add(token.content)
            added[token.id] = token.special
    _check_holes(by_id)
    _check_distinct(by_id, CONFIG if files.tiktoken else TOKENIZER)
    return tuple(map(by_id.get, range(max(by_id) + 1))), added


def _added_elsewhere(files: TokenizerFiles) -> Iterator[AddedToken]:
    """Those of `added_tokens_decoder` and added_tokens.json; entries that are none are passed over."""
    decoder = files.config.added_tokens_decoder
    for key, entry in decoder.items() if isinstance(decoder, Mapping) else ():
        content = entry.get("content") if isinstance(entry, Mapping) else None
        if isinstance(content, str) and key.isascii() and key.isdecimal() and int(key) <= LARGEST_ID:
            yield AddedToken(int(key), content, entry.get("special") is True)
    for content, id in files.added.items():
        yield AddedToken(id, content)


def _check_holes(by_id: Mapping[int, str]) -> None:
    """The engines' converters fill holes; so many are none of a tokenizer's."""
    if max(by_id) < len(by_id) + _MOST_HOLES:
        return
    missing = next(i for i in range(len(by_id)) if i not in by_id)
    found = f"id {missing} is missing, though ids go up to {max(by_id)}"
    raise CheckpointError(TOKENIZER, found, "no tokenizer has so many holes; use the tokenizer.json of this model")


def _check_distinct(by_id: Mapping[int, str], where: str) -> None:
    """llama.cpp aborts unless there are as many texts as ids (llama-vocab.cpp, load), and names an empty one itself."""
    texts = set(by_id.values())
    if len(texts) == len(by_id) and "" not in texts:
        return
    ids: dict[str, int] = {}
    for id, content in sorted(by_id.items()):
        text = content or f"[EMPTY_{id}]"
        if text in ids:
            found = f"ids {ids[text]} and {id} have the same text, {printable(text)!r}"
            raise CheckpointError(where, found, "llama.cpp aborts on such a vocabulary; give one another text")
        ids[text] = id


def read_merges(model: BpeModel) -> tuple[str, ...]:
    """Merges as "left right"; each half, and what they make, must be in the vocabulary, and neither holds a space."""
    vocab = model.vocab
    joined: list[str] = []
    for merge in model.merges:
        text = merge if isinstance(merge, str) else " ".join(merge)
        left, _, right = text.partition(" ")
        if left not in vocab or right not in vocab or left + right not in vocab or " " in right:
            found = f"merge {len(joined)} {merge!r}: a half of it or what they make is not in the vocabulary"
            raise CheckpointError(TOKENIZER, found, "use the tokenizer.json of this model")
        joined.append(text)
    return tuple(joined)
