"""tiktoken.model: a byte-level BPE vocabulary as byte strings with their ranks (tiktoken, load.py), as Kimi-K2 has it.

transformers would run the checkpoint's own class to read it; nothing is run here. What that class adds are 256 tokens
after the ranks, named by `added_tokens_decoder` of tokenizer_config.json or reserved (tokenization_kimi.py). Merges are
what a joining of neighbours by rank does last; llama.cpp: conversion/qwen.py, bpe.
"""

from binascii import Error, a2b_base64
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import pairwise

from deepgguf.errors import CheckpointError, printable
from deepgguf.files.files import Files
from deepgguf.formats.whole_file import read_whole

TIKTOKEN = "tiktoken.model"
TOKENIZER_CLASS = "TikTokenTokenizer"
"""What tokenizer_config.json calls the class of such tokenizers whose pattern the engines call kimi-k2."""

_ADDED = 256
_MOST_ADDED = _ADDED + 2  # in the class of older models
_LARGEST, _MOST_TOKENS = 40 << 20, 1 << 20  # Kimi-K2's has 2,800,000 bytes and 163,584 tokens
# Of the squares of all tokens' lengths, by which the time for merges grows: Kimi-K2's come to some 10^7.
_MOST_WORK = 1 << 28
_ADVICE = "take tiktoken.model from the original model"

# The bytes that stand for themselves; the others, in order, are U+0100, U+0101, … (GPT-2's encoder.py).
_PRINTABLE = frozenset((*range(33, 127), *range(161, 173), *range(174, 256)))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_STAND_INS = {byte: 0x100 + nth for nth, byte in enumerate(_OTHERS)}


def read_ranks(files: Files) -> list[bytes]:
    """The byte strings by rank. CheckpointError names the line that is not base64 and a rank, the rank or the string
    that is there twice, the rank or the byte that is missing.
    """
    tokens: dict[int, bytes] = {}
    lines: dict[bytes, int] = {}
    for number, line in enumerate(BytesIO(read_whole(files, TIKTOKEN, _LARGEST)), 1):
        if line.isspace():
            continue
        if len(tokens) == _MOST_TOKENS:
            raise CheckpointError(TIKTOKEN, f"more than {_MOST_TOKENS:,} tokens", _ADVICE)
        token, rank = _token(line.rstrip(b"\r\n"), number)
        if rank in tokens:
            raise _wrong(number, f"gives the rank {rank} a second time")
        if token in lines:
            raise _wrong(number, f"has the token of line {lines[token]} again")
        tokens[rank], lines[token] = token, number
    missing = next((rank for rank in range(len(tokens)) if rank not in tokens), None)
    if missing is not None:
        raise CheckpointError(TIKTOKEN, f"no line has the rank {missing}, of {len(tokens):,} tokens", _ADVICE)
    byte = next((byte for byte in range(256) if bytes([byte]) not in lines), None)
    if byte is not None:
        raise CheckpointError(TIKTOKEN, f"no line has the single byte {byte}", _ADVICE)
    return [tokens[rank] for rank in range(len(tokens))]


def _token(line: bytes, number: int) -> tuple[bytes, int]:
    coded, _, rank = line.partition(b" ")
    try:
        token = a2b_base64(coded, strict_mode=True)
    except Error:
        token = b""
    if not token or not (rank.isdigit() and len(rank) < 10):
        raise _wrong(number, f"is {printable(line[:40].decode('latin-1'))!r}, expected base64, a space and a rank")
    return token, int(rank)


def _wrong(number: int, found: str) -> CheckpointError:
    return CheckpointError(TIKTOKEN, f"line {number} {found}", _ADVICE)


def text_of(token: bytes) -> str:
    """The bytes as the characters that stand for them in a byte-level vocabulary."""
    return token.decode("latin-1").translate(_STAND_INS)


def merges(tokens: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """The two parts of every token that joining makes of two parts, in the order of ranks.

    A token that joining does not come to has none: only a look at whole words finds it, which no engine has.
    CheckpointError if there are so many long tokens that it would take minutes.
    """
    work = sum(len(token) ** 2 for token in tokens)
    if work > _MOST_WORK:
        longest = max(map(len, tokens))
        raise CheckpointError(TIKTOKEN, f"its tokens, of up to {longest:,} bytes, are too long to be merged", _ADVICE)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    for rank, token in enumerate(tokens):
        parts = _joined(token, ranks, rank) if len(token) > 1 else ()
        if len(parts) == 2:
            yield text_of(parts[0]), text_of(parts[1])


def _joined(token: bytes, ranks: Mapping[bytes, int], limit: int) -> list[bytes]:
    """The parts that are left when neighbours are joined, those of the lowest rank below `limit` first."""
    ends = list(range(len(token) + 1))
    pairs = [ranks.get(token[i : i + 2], limit) for i in range(len(token) - 1)]
    while pairs:
        least = min(pairs)
        if least >= limit:
            break
        at = pairs.index(least)
        del ends[at + 1], pairs[at]
        for i in (at - 1, at):
            if 0 <= i < len(pairs):
                pairs[i] = ranks.get(token[ends[i] : ends[i + 2]], limit)
    return [token[start:end] for start, end in pairwise(ends)]


def added_tokens(decoder: object, ranks: int, vocab_size: object) -> Iterator[tuple[int, str, bool]]:
    """Id, text and whether it is special of the tokens after the ranks; `decoder` is `added_tokens_decoder`.

    A reserved one beyond `vocab_size` is not needed. CheckpointError for a named one among the ranks, or so far behind
    them that ranks are missing.
    """
    entries = decoder if isinstance(decoder, Mapping) else {}
    for key in entries:
        id = int(key) if key.isascii() and key.isdecimal() and len(key) < 10 else ranks
        if not ranks <= id < ranks + _MOST_ADDED:
            where = "is a rank of" if id < ranks else f"is not among the {_MOST_ADDED} behind the {ranks:,} ranks of"
            found = f"added_tokens_decoder names id {key}, which {where} {TIKTOKEN}"
            raise CheckpointError("tokenizer_config.json", found, "take both from the same model")
    last = vocab_size if isinstance(vocab_size, int) else ranks + _ADDED
    for id in range(ranks, ranks + _ADDED):
        entry = entries.get(str(id))
        content = entry.get("content") if isinstance(entry, Mapping) else None
        if isinstance(content, str) and isinstance(entry, Mapping):
            yield id, content, entry.get("special") is True
        elif id < last:
            yield id, f"<|reserved_token_{id}|>", True
