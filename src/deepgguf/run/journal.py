"""The journal beside a part file: which pieces are on the medium, with their digests.

A line of JSON (schema, plan, versions of the sources and of deepgguf), then binary records. A record is a run of
pieces: number of the first (u64), how many (u32), for each its XXH3-128 and its counts (3 x u32), and the record's own
XXH3-64. It is appended only after the pieces' data is synced, so what it says is true; a torn tail is dropped.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import xxhash

from deepgguf.encodings.encoding import Counts
from deepgguf.errors import OutputError
from deepgguf.run.disk import Disk, is_at, must_be_ours
from deepgguf.run.torn import may_be_left_of

SCHEMA = 3
_RUN = struct.Struct("<QI")
_PIECE = struct.Struct("<16sIII")
_SUM = struct.Struct("<Q")
_HEADER_CAP = 1 << 20
_MOST_FOR_A_PIECE = 8 * (_RUN.size + _PIECE.size + _SUM.size)  # one that was made again has several records
_BEGINNING = b'{"plan":"'


class JournalHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose journal it is: the plan's hash, and apart from it the versions of the sources by name, and of deepgguf.

    `source` is the address of a source on a network, with its commit; it says more in a message, and decides nothing.
    """

    plan: str
    sources: tuple[tuple[str, str], ...]
    version: str
    schema: int = SCHEMA
    source: str = ""


def foreign_journal(where: object, found: JournalHeader, own: JournalHeader) -> OutputError:
    """The error for a journal of another version of deepgguf, another source or plan, or sources that have changed."""
    if found.version != own.version:
        differs = f"deepgguf {found.version} began this, and this is {own.version}, whose bytes may differ"
        return OutputError(where, differs, f"resume it with {found.version}, or discard it with `restart=True`")
    if found.source != own.source:
        differs = f"belongs to a run that reads {found.source or 'a folder'}, not {own.source or 'a folder'}"
        return OutputError(where, differs, "give that as the source, or discard it with `restart=True`")
    if found.plan != own.plan:
        return OutputError(where, "belongs to another plan (other source, target or type)",
                           "run the command that began it, or discard it with `restart=True`")  # fmt: skip
    return OutputError(where, "the source files have changed since", "discard it with `restart=True`")


class Finished(msgspec.Struct, frozen=True, gc=False):
    """A piece that is on the medium: its number in the file, the digest of its bytes, what was counted."""

    number: int
    digest: bytes
    counts: Counts


class Journal:
    """An open journal, appended to by one thread."""

    def __init__(self, disk: Disk, path: Path, fd: int, end: int) -> None:
        self._disk, self._path, self._fd, self._end = disk, path, fd, end

    def append(self, finished: Sequence[Finished]) -> None:
        """Records pieces whose data is synced; OutputError if that cannot be written."""
        data = encode_records(finished)
        self._disk.write(self._fd, self._path, memoryview(data), self._end)
        self._end += len(data)
        self._disk.sync(self._fd, self._path)

    def cut(self) -> None:
        """Drops a torn tail."""
        self._disk.truncate(self._fd, self._path, self._end)

    def remove(self) -> None:
        """Removes the journal, unless its name is another file's."""
        if is_at(self._fd, self._path):
            self._disk.remove(self._path)

    def close(self) -> None:
        """Closes the file; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def start_journal(disk: Disk, path: Path, header: JournalHeader) -> Journal:
    """A new journal at `path`."""
    fd = disk.create(path)
    line = msgspec.json.encode(header) + b"\n"
    journal = Journal(disk, path, fd, len(line))
    try:
        disk.write(fd, path, memoryview(line), 0)
        disk.sync(fd, path)
    except BaseException:
        journal.close()
        disk.remove(path)
        raise
    return journal


def reopen_journal(disk: Disk, path: Path, pieces: int) -> tuple[Journal, JournalHeader | None, list[Finished]]:
    """The journal at `path`, its header, and its good records; no header if its line was never finished.

    `pieces`: how many the file has; no journal of it is much longer than a record for each.

    OutputError if it cannot be read, is not a file of ours, or its header is damaged.
    """
    fd = disk.reopen(path)
    try:
        must_be_ours(fd, path)
        header, finished, end = _parsed(path, _content(fd, path, _HEADER_CAP + pieces * _MOST_FOR_A_PIECE))
    except BaseException:
        os.close(fd)
        raise
    return Journal(disk, path, fd, end), header, finished


def _content(fd: int, path: Path, most: int) -> bytes:
    try:
        with open(fd, "rb", closefd=False) as file:
            return file.read(most)
    except OSError as error:
        advice = "check the disk, then run again, or discard it with `restart=True`"
        raise OutputError(path, f"reading it failed: {error.strerror}", advice) from None


def _parsed(path: Path, data: bytes) -> tuple[JournalHeader | None, list[Finished], int]:
    """Header, records, and the byte where the good records end; no header and 0 if its line was never finished."""
    line, newline, _ = data[:_HEADER_CAP].partition(b"\n")
    if not newline:
        if not may_be_left_of(_BEGINNING, line):
            raise OutputError(path, "is not a journal of deepgguf", "move it away, or discard it with `restart=True`")
        return None, [], 0
    try:
        header: JournalHeader | None = msgspec.json.decode(line, type=JournalHeader)
    except (msgspec.DecodeError, UnicodeDecodeError):
        header = None
    if header is None or header.schema != SCHEMA:
        raise OutputError(
            path, "the journal's header is damaged or of another version", "discard it with `restart=True`"
        )
    return header, *decode_records(data, len(line) + 1)


def encode_records(finished: Sequence[Finished]) -> bytes:
    """The records of these pieces."""
    return b"".join(_records(sorted(finished, key=lambda f: f.number)))


def decode_records(data: bytes, start: int) -> tuple[list[Finished], int]:
    """The pieces of the good records from byte `start` on, and the byte where they end."""
    finished: list[Finished] = []
    while (record := _read_record(data, start)) is not None:
        run, start = record
        finished += run
    return finished, start


def _records(finished: Sequence[Finished]) -> Iterator[bytes]:
    start = 0
    for i in range(1, len(finished) + 1):
        if i == len(finished) or finished[i].number != finished[i - 1].number + 1:
            run = finished[start:i]
            body = _RUN.pack(run[0].number, len(run)) + b"".join(_PIECE.pack(f.digest, *f.counts) for f in run)
            yield body + _SUM.pack(xxhash.xxh3_64_intdigest(body))
            start = i


def _read_record(data: bytes, start: int) -> tuple[list[Finished], int] | None:
    """The record at byte `start` and the byte behind it; None if it is torn, damaged or not there."""
    if start + _RUN.size > len(data):
        return None
    first, count = _RUN.unpack_from(data, start)
    body_end = start + _RUN.size + count * _PIECE.size
    if body_end + _SUM.size > len(data):
        return None
    if _SUM.unpack_from(data, body_end)[0] != xxhash.xxh3_64_intdigest(data[start:body_end]):
        return None
    fields = _PIECE.iter_unpack(data[start + _RUN.size : body_end])
    run = [Finished(first + i, digest, Counts(*counts)) for i, (digest, *counts) in enumerate(fields)]
    return run, body_end + _SUM.size
