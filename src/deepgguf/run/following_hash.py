"""The SHA-256 of a file while it is written, so that it need not be read again from the disk when it is whole; and of
one that is whole.
"""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from deepgguf.errors import OutputError

_RUN = 1 << 20  # bytes read at a time
_STEP = 32 << 20  # bytes that are worth a thread's while


def sha256_of(path: Path, progress: Callable[[int], None] = lambda nbytes: None) -> str:
    """The SHA-256 of a file; `progress` is called with the bytes that were read. OutputError if it cannot be read."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_RUN))
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
                progress(count)
    except OSError as error:
        raise unreadable(path, error) from None
    return digest.hexdigest()


def unreadable(path: Path, error: OSError) -> OutputError:
    """The error for a file that cannot be read to hash it."""
    found = f"reading it to hash it failed: {error.strerror}"
    return OutputError(path, found, "check the disk, then run again with `resume=True`")


class FollowingHash:
    """Follows the part of a file that is whole from its beginning on, by reading back what is still in memory.

    Pieces are written in any order, a hash takes bytes in theirs. One thread reads and hashes, beside the workers.
    """

    def __init__(self, fd: int, header: bytes, size: int) -> None:
        """`header` are the file's first bytes as they will be; of the file only what follows them is read."""
        self._fd, self._size = os.dup(fd), size
        self._hash, self._at = hashlib.sha256(header), len(header)
        self._pool: ThreadPoolExecutor | None = None
        self._reading: Future[None] | None = None
        self._closed = False

    def follow(self, whole: int) -> None:
        """Says that the file is whole up to byte `whole`; hashes up to there once there is enough to be read."""
        if self._reading is not None and not self._reading.done():
            return
        if whole - self._at < _STEP:
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="deepgguf-hash")
        try:
            self._reading = self._pool.submit(self._read_to, whole)
        except RuntimeError:  # the system starts no thread: all is read at the end
            self._reading = None

    def hexdigest(self) -> str:
        """The hash of the whole file, which must be complete. OSError if it cannot be read back."""
        if self._reading is not None:
            self._reading.result()
        self._read_to(self._size)
        return self._hash.hexdigest()

    def close(self) -> None:
        """Ends the thread after what it is at; again is harmless."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read_to(self, end: int) -> None:
        buffer = memoryview(bytearray(_RUN))
        while self._at < end and not self._closed:
            count = os.preadv(self._fd, [buffer[: min(_RUN, end - self._at)]], self._at)
            if not count:
                raise OSError(0, "the file has become shorter")
            self._hash.update(buffer[:count])
            self._at += count
