"""What a journal claims of a file, read back and compared: a claim counts only if its bytes are there."""

import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import xxhash

from deepgguf.encodings.encoding import Counts
from deepgguf.errors import OutputError
from deepgguf.executors.executor import Executor
from deepgguf.planning.numbering import Numbering
from deepgguf.run.journal import Finished

_BATCH = 32  # claims to a task


class Claim(NamedTuple):
    """That the piece number `number` lies in `nbytes` bytes at byte `offset` of the file, with this XXH3-128."""

    number: int
    offset: int
    nbytes: int
    digest: bytes


def verified_claims(
    path: Path, numbering: Numbering, finished: Mapping[int, Finished], executor: Executor
) -> Generator[Claim]:
    """Those of the journal's claims that `path` bears out, in any order; one may come twice.

    They are verified here if the executor's workers do not see the file. OutputError if it cannot be read.
    """
    verified, batches = _Reader(path).verified, _batches(_claims(numbering, finished))
    if executor.shares_files:
        return executor.map(verified, batches)
    return (claim for batch in batches for claim in verified(batch))


def read_pieces(path: Path, numbering: Numbering) -> Iterator[tuple[Finished, int]]:
    """Every piece as it is in `path`, without its counts, and its bytes; OutputError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            for number in range(numbering.count):
                place = numbering.place(number)
                data = os.pread(file.fileno(), numbering.piece(place).nbytes, numbering.offset(place))
                yield Finished(number, xxhash.xxh3_128_digest(data), Counts()), len(data)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> OutputError:
    found = f"reading back what an interrupted run wrote failed: {error.strerror}"
    return OutputError(path, found, "check the disk, then run again with `resume=True`")


def _claims(numbering: Numbering, finished: Mapping[int, Finished]) -> Iterator[Claim]:
    for number, piece in finished.items():
        place = numbering.place(number)
        yield Claim(number, numbering.offset(place), numbering.piece(place).nbytes, piece.digest)


def _batches(claims: Iterator[Claim]) -> Iterator[tuple[Claim, ...]]:
    while batch := tuple(islice(claims, _BATCH)):
        yield batch


class _Reader(NamedTuple):
    path: Path

    def verified(self, claims: Iterable[Claim]) -> Iterator[Claim]:
        """The claims that hold."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                for claim in claims:
                    if xxhash.xxh3_128_digest(os.pread(fd, claim.nbytes, claim.offset)) == claim.digest:
                        yield claim
            finally:
                os.close(fd)
        except OSError as error:
            raise _unreadable(self.path, error) from None
