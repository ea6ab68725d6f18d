"""JSON that deepgguf writes: in UTF-8, though a file's name may be bytes that are not."""

import os
import re

import msgspec


def encode_json(value: object) -> bytes:
    """`value` as JSON; paths are text, and what is in names but not in UTF-8 is written as `utf8_text` has it."""
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except UnicodeEncodeError:
        return msgspec.json.encode(_with_utf8_text(msgspec.to_builtins(value, enc_hook=_plain)))


def encode_json_in_markup(value: object) -> str:
    """`value` as JSON that can stand inside an element or a comment of HTML, which nothing in it ends."""
    return re.sub(rb"[<>&]", lambda found: b"\\u%04x" % found[0][0], encode_json(value)).decode()


def utf8_text(name: str) -> str:
    r"""`name` with the bytes that are not UTF-8, which Python has as lone surrogates, as messages show them: `\udcff`.

    JSON could have the surrogates themselves, but many readers refuse the whole text for them.
    """
    return name.encode(errors="backslashreplace").decode()


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _with_utf8_text(value: object) -> object:
    if isinstance(value, str):
        return utf8_text(value)
    if isinstance(value, dict):
        return {_with_utf8_text(name): _with_utf8_text(member) for name, member in value.items()}
    return [_with_utf8_text(item) for item in value] if isinstance(value, list | tuple) else value
