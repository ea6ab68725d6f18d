"""The JSON of a safetensors header as one entry per tensor, with fields of the right type and no name twice."""

import msgspec

from deepgguf.errors import CheckpointError
from deepgguf.formats.json_text import has_long_integer, has_too_many_values, parse_json


class Entry(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A tensor as the header has it: `data_offsets` are bytes from the start of the data."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


_METADATA = "__metadata__"
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRY = msgspec.json.Decoder(Entry)
_COLONS = 1 + len(Entry.__struct_fields__)  # an entry is a member, and so is each of its fields


def header_entries(text: bytes, where: str) -> dict[str, Entry]:
    """The entries of the header `text`, by tensor; CheckpointError, which begins with `where`, if it is not one.

    Nothing is read of `__metadata__`, so any JSON may stand there: published checkpoints have null.
    """
    if not text.startswith(b"{"):
        raise CheckpointError(where, "the header does not begin with '{'", "download the file again")
    entries = quick_entries(text)
    return strict_entries(text, where) if entries is None else entries


def quick_entries(text: bytes) -> dict[str, Entry] | None:
    """The entries of a header that leaves no question open; None for any other, good or bad.

    msgspec is several times faster than the standard library, but takes the last of two members with one name. Each
    member has a colon: where the text has no more colons than the members found have, no other member was there.
    """
    if not text.isascii() or b"\\" in text or has_long_integer(text) or has_too_many_values(text):
        return None
    colons = 0
    try:
        members = _MEMBERS.decode(text)
        if _METADATA in members:
            metadata = bytes(members.pop(_METADATA))
            parse_json(metadata, _METADATA)  # so that its colons are those of its members
            colons = 1 + metadata.count(b":")
        entries = {name: _ENTRY.decode(entry) for name, entry in members.items()}
    except (msgspec.DecodeError, CheckpointError, RecursionError):
        return None
    colons += len(entries) * _COLONS
    return entries if text.count(b":") == colons and "" not in entries else None


def strict_entries(text: bytes, where: str) -> dict[str, Entry]:
    """The entries of any text that begins with "{", or a CheckpointError that says what is wrong with it."""
    header = parse_json(text, where)
    assert isinstance(header, dict)
    header.pop(_METADATA, None)
    if "" in header:
        raise CheckpointError(where, "a tensor with an empty name")
    entries: dict[str, Entry] = {}
    for name, entry in header.items():
        try:
            entries[name] = msgspec.convert(entry, Entry)
        except msgspec.ValidationError as e:
            raise CheckpointError(f"{where}, tensor {name}", str(e)) from None
    return entries
