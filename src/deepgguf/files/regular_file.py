"""Regular files only: a FIFO or a device is refused without opening it, for opening one can wait, or do something.

No mmap: it would count as memory, and a file that is cut short while it is mapped kills the process (SIGBUS).
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from deepgguf.errors import CheckpointError, DeepggufError, OutputError
from deepgguf.files.files import FileFacts

NOT_THERE = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.ELOOP: "a loop of symlinks",
    errno.ENAMETOOLONG: "a name that is too long",
}
"""What stays as it is. Every other error may pass by itself: a disk is gone, or all descriptors are taken."""
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class OpenFile:
    """A regular file that is open for reading until nobody holds this object."""

    def __init__(self, fd: int, name: str) -> None:
        """Takes `fd` over; OSError if the file system does not tell its facts, then `fd` is closed."""
        self.fd = fd
        self.mode = os.fstat(fd).st_mode
        self.facts = self._facts_now(name)

    def __del__(self) -> None:
        """Closes: not before the last thread that reads has let go."""
        os.close(self.fd)

    def readinto(self, offset: int, view: memoryview) -> int:
        """Fills `view` from byte `offset`, by pread as often as it takes; OSError if that fails.

        The result is how many bytes were read: fewer than `view` has where the file ends before.
        """
        done = 0
        while done < len(view) and (got := os.preadv(self.fd, [view[done:]], offset + done)):
            done += got
        return done

    @property
    def unchanged(self) -> bool:
        """Whether size and version are still what they were when it was opened; OSError if nobody can tell."""
        return self._facts_now(self.facts.name) == self.facts

    def _facts_now(self, name: str) -> FileFacts:
        status = os.fstat(self.fd)
        return FileFacts(name, status.st_size, str(status.st_mtime_ns))


def open_regular(real: str, name: str, make_room: Callable[[], bool] = lambda: False) -> OpenFile:
    """Opens the file at the real path `real`, which the checkpoint calls `name`.

    Its version is its time of change in nanoseconds. Where no more files can be open, `make_room` is asked to close
    one, and says whether it has. Raises CheckpointError if there is no regular file, OutputError if opening fails.
    """
    try:
        _must_be_regular(name, Path(real).stat().st_mode)
        opened = OpenFile(_open(real, make_room), name)
    except OSError as e:
        raise unreadable(name, e, "look at the file, or download it again") from None
    _must_be_regular(name, opened.mode)
    return opened


def _open(real: str, make_room: Callable[[], bool]) -> int:
    # O_NONBLOCK: should a FIFO take the file's place just now, opening it must not wait for a writer.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    while True:
        try:
            return os.open(real, flags)
        except OSError as e:
            if e.errno not in _NO_DESCRIPTOR or not make_room():
                raise


def unreadable(name: str, e: OSError, advice: str) -> DeepggufError:
    """The error for a file that cannot be found or opened; `advice` is for one that is not there.

    OutputError for what may pass by itself: a run that meets it is resumed later.
    """
    if e.errno in NOT_THERE:
        return CheckpointError(name, NOT_THERE[e.errno], advice)
    if e.errno in _NO_DESCRIPTOR:
        return OutputError(
            name, f"cannot be opened: {e.strerror}", "allow more open files (`ulimit -n`), then try again"
        )
    return OutputError(name, f"cannot be opened: {e.strerror}", "check the disk and the permissions, then try again")


def not_regular(mode: int) -> str | None:
    """What it is that is not a regular file, for an error; None of one that is."""
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return f"{kinds.get(stat.S_IFMT(mode), 'a device')}, not a regular file"


def _must_be_regular(name: str, mode: int) -> None:
    if found := not_regular(mode):
        raise CheckpointError(name, found, "download the file again")
