"""NAME.gguf.part.journal, an object beside the file's name: what of an upload a later run can count on, on any machine.

A line of JSON, then the records of `run/journal.py`. An object cannot be appended to, so it is written anew, when
a hundredth of the file or a part has been added: all versions together are shorter than a hundredth of the file.
"""

import msgspec

from deepgguf.errors import OutputError
from deepgguf.run.journal import Finished, JournalHeader, decode_records

SCHEMA = 1


class UploadHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose journal it is, the upload, the mark that its object will have, and the tags of the parts by number."""

    run: JournalHeader
    upload: str
    mark: str
    parts: dict[int, str]
    schema: int = SCHEMA


def encode_upload(head: UploadHead, records: bytes) -> bytes:
    """The object."""
    return msgspec.json.encode(head) + b"\n" + records


def decode_upload(where: object, data: bytes) -> tuple[UploadHead, list[Finished]]:
    """Head, and finished pieces; OutputError for what is no such journal."""
    line, _, _ = data.partition(b"\n")
    try:
        head = msgspec.json.decode(line, type=UploadHead)
    except (msgspec.DecodeError, UnicodeDecodeError):
        head = None
    if head is None or head.schema != SCHEMA:
        found = "is not a journal of this version of deepgguf"
        raise OutputError(where, found, "move it away, or discard it with `restart=True`")
    return head, decode_records(data, len(line) + 1)[0]
