"""Bytes of local files: regular ones only, by pread, noticing when a file changes under the run.

No mmap: it would count as memory, and a file that is cut short while it is mapped kills the process (SIGBUS).
"""

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.errors import CheckpointError, OutputError

Buffer = memoryview | bytearray | NDArray[Any]


class SourceFile(msgspec.Struct, frozen=True):
    """A file of the checkpoint as it was when it was first opened.

    `path` is absolute and free of symlinks, `name` is what the checkpoint calls it; `size` in bytes.
    """

    path: str
    name: str
    size: int
    mtime_ns: int


def locate(path: Path) -> str:
    """The real path of the file `path`, symlinks followed.

    A symlink may lead to a file in the same folder, or from a snapshot of Hugging Face's cache to its blobs
    (`models--ORG--NAME/snapshots/HASH/…` to `models--ORG--NAME/blobs`); others could publish any file of this machine.

    Raises CheckpointError if there is no such file, for a loop, and for a symlink to anywhere else.
    """
    try:
        real, folder = os.path.realpath(path, strict=True), os.path.realpath(path.parent, strict=True)
    except OSError as e:
        raise CheckpointError(path.name, _unreadable(e), "download it again") from None
    allowed = [folder]
    parts = Path(folder).parts
    if "snapshots" in parts:
        cache = parts[: len(parts) - 1 - parts[::-1].index("snapshots")]
        allowed.append(str(Path(*cache, "blobs")))
    if not any(Path(real).is_relative_to(a) for a in allowed):
        raise CheckpointError(
            path.name, f"a symlink to {real}, outside the checkpoint's folder", "put the file itself into the folder"
        )
    return real


def _unreadable(e: OSError) -> str:
    words = {errno.ENOENT: "no such file", errno.ELOOP: "a loop of symlinks", errno.EACCES: "no permission to read it"}
    return words.get(e.errno or 0, f"cannot be opened: {e.strerror}")


def _open_regular(real: str, name: str) -> tuple[int, os.stat_result]:
    try:
        _must_be_regular(name, Path(real).stat())  # opening a device can already do something
        # O_NONBLOCK: should a FIFO take the file's place just now, opening it must not wait for a writer.
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as e:
        raise CheckpointError(name, _unreadable(e), "look at the file, or download it again") from None
    facts = os.fstat(fd)
    try:
        _must_be_regular(name, facts)
    except CheckpointError:
        os.close(fd)
        raise
    return fd, facts


class LocalSource:
    """A regular file, open for reading at any offset from any thread."""

    def __init__(self, path: Path) -> None:
        """Opens `path`, symlinks followed as `locate` allows.

        Raises CheckpointError if that is no readable regular file; a FIFO or a device is refused without opening it.
        """
        real = locate(path)
        self._fd, facts = _open_regular(real, path.name)
        self.file = SourceFile(real, path.name, facts.st_size, facts.st_mtime_ns)

    @classmethod
    def reopen(cls, file: SourceFile) -> Self:
        """Opens `file` again; CheckpointError if it is not what it was."""
        source = cls.__new__(cls)
        source._fd, facts = _open_regular(file.path, file.name)
        source.file = file
        if (facts.st_size, facts.st_mtime_ns) != (file.size, file.mtime_ns):
            source.close()
            raise _changed(file)
        return source

    def readinto(self, offset: int, buffer: Buffer) -> None:
        """Fills the contiguous `buffer` with the file's bytes from `offset`.

        Raises CheckpointError if the file ends before, OutputError if the system cannot read it.
        """
        view = buffer.data if isinstance(buffer, np.ndarray) else memoryview(buffer)
        if view.nbytes == 0:
            return
        view = view.cast("B")
        done = 0
        while done < len(view):
            try:
                got = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as e:
                raise OutputError(
                    self.file.name,
                    f"reading {len(view) - done:,} bytes at byte {offset + done:,} failed: {e.strerror}",
                    "check the disk, then run again with `resume=True`",
                ) from None
            if got == 0:
                raise _changed(self.file)
            done += got

    def read(self, offset: int, nbytes: int) -> bytes:
        """`nbytes` bytes from `offset`; errors as for `readinto`."""
        buffer = bytearray(nbytes)
        self.readinto(offset, buffer)
        return bytes(buffer)

    def close(self) -> None:
        """Closes the file; again is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Closes."""
        self.close()


def _must_be_regular(name: str, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(facts.st_mode), "a device")
        raise CheckpointError(name, f"{kind}, not a regular file", "download the file again")


def _changed(file: SourceFile) -> CheckpointError:
    return CheckpointError(
        file.name,
        f"changed or truncated while it was read, expected {file.size:,} bytes",
        "start over with `restart=True`",
    )


class Sources:
    """The files of a checkpoint, opened when first read, at most `limit` of them open at a time.

    Safe from any thread; a file is never closed while another thread reads it.
    """

    def __init__(self, files: Sequence[SourceFile], limit: int = 64) -> None:
        self.files = tuple(files)
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[int, LocalSource] = OrderedDict()  # least recently used first
        self._readers = [0] * len(self.files)

    def readinto(self, file: int, offset: int, buffer: Buffer) -> None:
        """Fills the contiguous `buffer` with bytes from `offset` of `files[file]`; errors as for `LocalSource`."""
        with self._lock:
            source = self._opened(file)
            self._readers[file] += 1
        try:
            source.readinto(offset, buffer)
        finally:
            with self._lock:
                self._readers[file] -= 1

    def read(self, file: int, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """`nbytes` bytes from `offset` of `files[file]`, as a new array of shape [nbytes]."""
        buffer = np.empty(nbytes, np.uint8)
        self.readinto(file, offset, buffer)
        return buffer

    def _opened(self, file: int) -> LocalSource:
        source = self._open.get(file)
        if source is None:
            idle = [i for i in self._open if not self._readers[i]]
            for i in idle[: max(0, len(self._open) - self._limit + 1)]:
                self._open.pop(i).close()
            source = self._open[file] = LocalSource.reopen(self.files[file])
        self._open.move_to_end(file)
        return source

    def check_unchanged(self) -> None:
        """CheckpointError that names the first file whose size or time of change is not what it was."""
        for file in self.files:
            try:
                facts = Path(file.path).stat()
            except OSError:
                raise _changed(file) from None
            if (facts.st_size, facts.st_mtime_ns) != (file.size, file.mtime_ns):
                raise _changed(file)

    def close(self) -> None:
        """Closes all files."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Closes."""
        self.close()
