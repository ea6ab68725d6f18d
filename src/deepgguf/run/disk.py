"""Every system call that writes, in one small interface, so that a test can make the k-th fail or kill the process."""

import ctypes
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from deepgguf.errors import OutputError, UsageError

_R = TypeVar("_R")
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "a file-size limit is reached",
}
_RESUME = "what is written stays; run again with `resume=True`"
_INTERRUPTIONS = 100
_LACKING = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # from file systems without such a call: CIFS, Lustre, FUSE


@cache
def in_memory(device: int) -> bool:
    """Whether the file system with this st_dev lies in memory (proc(5), mountinfo); False where that is not known."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    types = (line.partition(" - ")[2].split(" ", 1)[0] for line in mounts if line.split(" ", 3)[2] == number)
    return any(type in ("tmpfs", "ramfs") for type in types)


def is_at(fd: int, path: Path) -> bool:
    """Whether the open file still has the name `path`: another may have been put there, or another folder above it."""
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except OSError:
        return False


def must_be_at(fd: int, path: Path) -> None:
    """OutputError if the open file has lost its name; what has the name now is somebody else's."""
    if not is_at(fd, path):
        raise replaced(path)


def replaced(path: Path) -> OutputError:
    """The error for another file under the name of one that this run writes."""
    found = "another file, or another folder, has taken the place of what this run wrote"
    return OutputError(path, found, "see who else uses the folder, and give an `output` in one of your own")


def must_be_ours(fd: int, path: Path) -> None:
    """OutputError for a file that resuming must not take up: a FIFO, a hard link to a file elsewhere, a stranger's."""
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        found = "is not a regular file"
    elif facts.st_nlink > 1:
        found = "has another name too (a hard link), and resuming would write into the file there"
    elif facts.st_uid != os.geteuid() and facts.st_uid != owner_of_new_files(path.parent):
        found = f"belongs to another user (uid {facts.st_uid}), who decides what is in it"
    else:
        return
    raise OutputError(path, found, "look at it, then discard it with `restart=True`")


def owner_of_new_files(folder: Path) -> int:
    """The uid that the file system gives to what this process creates: not always its own (NFS, CIFS, FUSE)."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_uid
    except OSError:
        return os.geteuid()


class Disk:
    """The local file system. Errors become an OutputError that names the file and says what to do next."""

    def call(self, name: str, function: Callable[..., _R], *args: Any) -> _R:
        """One system call, by its name; the place where tests step in."""
        return function(*args)

    def create(self, path: Path) -> int:
        """A new file for reading and writing. UsageError if there is one already."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return self.call("create", os.open, path, flags, 0o666)
        except FileExistsError:
            raise UsageError(
                path,
                "exists",
                "another run is at work, or left it; resume it with `resume=True`, or discard it with `restart=True`",
            ) from None
        except OSError as error:
            raise _failed("creating", path, error, "check the folder's permissions and space") from None

    def reopen(self, path: Path) -> int:
        """An existing file for reading and writing; a symlink is refused, and a FIFO does not block."""
        return self._open(path, os.O_RDWR, "check the file, or discard it with `restart=True`")

    def reopen_to_write(self, path: Path) -> int:
        """An existing file for writing alone, otherwise as `reopen`.

        NFS reads a page of which a part is written, if the file is open for reading too, and then may write all of it
        back (Linux, fs/nfs: nfs_want_read_modify_write, nfs_can_extend_write): over what another machine has written
        there meanwhile.
        """
        return self._open(path, os.O_WRONLY, "see who else uses the folder, then run again")

    def _open(self, path: Path, access: int, advice: str) -> int:
        flags = access | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd: int = self.call("open", os.open, path, flags)
        except OSError as error:
            raise _failed("opening", path, error, advice) from None
        return fd

    def lock(self, fd: int, path: Path) -> bool:
        """Locks the file until `fd` is closed, where the file system has locks; False if another has locked it."""
        for _ in range(_INTERRUPTIONS):
            try:
                self.call("lock", _flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except InterruptedError as error:
                failed: OSError = error
                continue
            except OSError as error:
                failed = error
                if error.errno not in _LACKING:
                    break
            return True
        raise _failed("locking", path, failed, "try again, or give another `output`")

    def allocate(self, fd: int, path: Path, size: int) -> None:
        """Gives the file `size` bytes and reserves them, so that a full disk shows now and not after half an hour.

        In memory nothing is reserved: the kernel would clear every page first, and hold the file meanwhile. Nor is it
        where the file system cannot.
        """
        try:
            if in_memory(os.fstat(fd).st_dev) or not self._reserve(fd, size):
                self.call("allocate", os.ftruncate, fd, size)
        except OSError as error:
            raise _failed(f"reserving {size:,} bytes for", path, error, "free space, then run again") from None

    def _reserve(self, fd: int, size: int) -> bool:
        """Whether this system, and this file system, can."""
        if not hasattr(os, "posix_fallocate"):
            return False
        try:
            self.call("allocate", os.posix_fallocate, fd, 0, size)
        except OSError as error:
            if error.errno not in _LACKING:
                raise
            return False
        return True

    def write(self, fd: int, path: Path, data: memoryview, offset: int) -> None:
        """All of `data` at `offset`, however short the writes are."""
        done = 0
        try:
            while done < len(data):
                done += self.call("write", os.pwrite, fd, data[done:], offset + done)
        except OSError as error:
            raise _failed("writing", path, error, _RESUME) from None

    def truncate(self, fd: int, path: Path, size: int) -> None:
        """Cuts the file to `size` bytes."""
        try:
            self.call("truncate", os.ftruncate, fd, size)
        except OSError as error:
            raise _failed("shortening", path, error, _RESUME) from None

    def sync(self, fd: int, path: Path) -> None:
        """Data and size on the medium. Never tried again: after a failed fsync the kernel may have dropped the data."""
        try:
            self.call("fsync", os.fsync, fd)
        except OSError as error:
            raise _failed("syncing", path, error, _RESUME) from None

    def sync_folder(self, folder: Path) -> None:
        """The names in `folder` on the medium, where the file system can sync a folder."""
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self.call("fsync", os.fsync, fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _LACKING:
                raise _failed("syncing", folder, error, _RESUME) from None

    def make_folder(self, folder: Path) -> None:
        """A new folder, unless there is one, and those above it."""
        try:
            self.call("mkdir", lambda: folder.mkdir(parents=True, exist_ok=True))
        except OSError as error:
            raise _failed("making the folder", folder, error, "give another `output`") from None

    def exists(self, path: Path) -> bool:
        """Whether there is something by this name, a dangling symlink too. OutputError if nobody can tell."""
        try:
            path.lstat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _failed("looking for", path, error, "check the disk, then try again") from None
        return True

    def rename(self, source: Path, destination: Path) -> None:
        """`source` under its final name, in one step."""
        try:
            self.call("rename", os.rename, source, destination)
        except OSError as error:
            raise _failed(f"renaming {source.name} to", destination, error, _RESUME) from None

    def remove(self, path: Path) -> None:
        """Removes a file that may be gone already."""
        if not self.exists(path):  # a read-only file system refuses even to remove nothing
            return
        try:
            self.call("remove", path.unlink, True)
        except OSError as error:
            raise _failed("removing", path, error, "remove it by hand") from None


def _flock(fd: int, operation: int) -> None:
    """flock(2), once: that of Python is repeated for ever where it is interrupted for ever."""
    if ctypes.CDLL(None, use_errno=True).flock(fd, operation):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _failed(doing: str, path: Path, error: OSError, advice: str) -> OutputError:
    why = _FULL.get(error.errno or 0, error.strerror or str(error))
    return OutputError(path, f"{doing} it failed: {why}", advice)
