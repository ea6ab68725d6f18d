"""Regular files only: a FIFO or a device is refused without opening it, for opening one can wait, or do something.

No mmap: it would count as memory, and a file that is cut short while it is mapped kills the process (SIGBUS).
"""

import errno
import os
import stat
from pathlib import Path

from deepgguf.errors import CheckpointError
from deepgguf.files.files import FileFacts


class OpenFile:
    """A regular file that is open for reading until nobody holds this object."""

    def __init__(self, fd: int, facts: FileFacts) -> None:
        self.fd, self.facts = fd, facts

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
        """Whether size and version are still what they were when it was opened."""
        return _facts(os.fstat(self.fd), self.facts.name) == self.facts


def open_regular(real: str, name: str) -> OpenFile:
    """Opens the file at the real path `real`, which the checkpoint calls `name`.

    Its version is its time of change in nanoseconds. Raises CheckpointError if it may not be read.
    """
    try:
        _must_be_regular(name, Path(real).stat())
        # O_NONBLOCK: should a FIFO take the file's place just now, opening it must not wait for a writer.
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as e:
        raise unreadable(name, e, "look at the file, or download it again") from None
    status = os.fstat(fd)
    opened = OpenFile(fd, _facts(status, name))
    _must_be_regular(name, status)
    return opened


def unreadable(name: str, e: OSError, advice: str) -> CheckpointError:
    """The error for a file that cannot be opened or found."""
    words = {errno.ENOENT: "no such file", errno.ELOOP: "a loop of symlinks", errno.EACCES: "no permission to read it"}
    return CheckpointError(name, words.get(e.errno or 0, f"cannot be opened: {e.strerror}"), advice)


def _facts(status: os.stat_result, name: str) -> FileFacts:
    return FileFacts(name, status.st_size, str(status.st_mtime_ns))


def _must_be_regular(name: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise CheckpointError(name, f"{kind}, not a regular file", "download the file again")
