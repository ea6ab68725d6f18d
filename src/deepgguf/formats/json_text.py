"""JSON from outside: one meaning only, bounded in depth, in numbers, in values.

msgspec does not notice duplicate keys, the standard library can; types are the callers' business (`msgspec.convert`).
"""

import json
import math
import re
from typing import NoReturn

from deepgguf.errors import CheckpointError
from deepgguf.files.files import Files
from deepgguf.formats.stand_in import PREFIX_BYTES, stand_in
from deepgguf.formats.whole_file import read_whole

# An offset in the largest checkpoint has 12 digits, a double 17 significant ones and up to 7 for sign, point, exponent.
MAX_NUMBER_CHARACTERS = 40
# All headers of DeepSeek-V3 together have 740,000, its tokenizer 400,000. A value takes up to 240 bytes of memory.
MAX_VALUES = 1_000_000
# Bytes of a file. Its text, that text decoded, and a string that is nearly all of it take up to nine times as much
# memory: four bytes a character where one needs as many. Of tokenizers the largest known has 33,000,000 bytes, of
# indexes DeepSeek-V3's 9,000,000; of the other files one with a million is rare.
LARGE_FILE = 40 << 20
SMALL_FILE = 8 << 20


class _RefusedError(ValueError):
    """What a hook of the decoder finds wrong."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RefusedError(f"the key {key!r} appears twice in one object")
            seen.add(key)
    return members


def _bounded(number: str) -> str:
    if len(number) > MAX_NUMBER_CHARACTERS:
        raise _RefusedError(f"a number of {len(number)} characters, {number[:12]}…")
    return number


def _integer(number: str) -> int:
    return int(_bounded(number))


def _float(number: str) -> float:
    value = float(_bounded(number))
    if not math.isfinite(value):
        raise _RefusedError(f"the number {number} is too large")
    return value


def _constant(word: str) -> NoReturn:
    raise _RefusedError(f"{word} is not a JSON number")


_PLAIN = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
_COUNTING = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_INTEGER = b"0" * (MAX_NUMBER_CHARACTERS + 1)


def has_long_integer(text: bytes) -> bool:
    """Whether there may be an integer of more than 40 characters: whether some run of digits is as long."""
    return _LONG_INTEGER in text.translate(_ZEROS)


def has_too_many_values(text: bytes) -> bool:
    """Whether there may be more than 1,000,000 values."""
    # Each value but the first follows one of these; they may stand in strings too, so this is an upper bound.
    return text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_VALUES


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _decode(text: bytes) -> object:
    decoder = _COUNTING if has_long_integer(text) else _PLAIN  # counting digits takes time
    value = decoder.decode(text.decode())
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # fails if one stands alone
    return value


def parse_json(text: bytes, where: str) -> object:
    """The value that `text` (UTF-8, no byte order mark) holds, of dict, list, str, int, float, bool and None.

    `where` names the text in errors.

    Raises CheckpointError for everything that RFC 8259 does not allow or leaves open (duplicate keys, NaN, Infinity,
    lone surrogates) and for what no checkpoint needs: numbers of more than 40 characters, deep nesting, more than
    1,000,000 values.
    """
    instead = stand_in(text[:PREFIX_BYTES])
    if instead:
        raise CheckpointError(where, *instead)
    if text.startswith(b"\xef\xbb\xbf"):
        raise CheckpointError(where, "begins with a byte order mark, which JSON must not have", "remove it")
    if has_too_many_values(text):
        raise CheckpointError(where, f"more than {MAX_VALUES:,} JSON values, more than any checkpoint has")
    try:
        return _decode(text)
    except UnicodeDecodeError as e:
        raise CheckpointError(where, f"not UTF-8 at byte {e.start}") from None
    except UnicodeEncodeError:
        raise CheckpointError(where, "half of a surrogate pair in a string, which no UTF-8 text has") from None
    except RecursionError:
        raise CheckpointError(where, "JSON nested too deeply") from None
    except json.JSONDecodeError as e:
        advice = "mend what was changed there, or take the file from the original model"
        raise CheckpointError(where, f"not JSON at character {e.pos}: {e.msg}", advice) from None
    except _RefusedError as e:
        raise CheckpointError(where, str(e)) from None


def read_json(files: Files, name: str, cap: int) -> object:
    """The value in a JSON file of at most `cap` bytes; errors as for `parse_json` and `read_whole`."""
    return parse_json(read_whole(files, name, cap), name)
