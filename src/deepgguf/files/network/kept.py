"""What was read of distant files, kept in a folder as the Hub's cache keeps it.

FOLDER/MODEL/snapshots/COMMIT/NAME is a symlink to FOLDER/MODEL/blobs/KEY when every byte of the file has been read.
Until then the blob is called KEY.deepgguf, with holes where nothing was read, and KEY.deepgguf.ranges has a line
"FIRST END" for what is there and on the medium.

One run at a time keeps what it reads of a model; others read the files that are whole.
"""

import fcntl
import hashlib
import os
import threading
from pathlib import Path

from deepgguf.errors import OutputError
from deepgguf.files.files import FileFacts

_SYNCED = 64 << 20  # bytes after which what was written is put on the medium, and noted
_ADVICE = "free space there, or leave out `cache`"


class Keeper:
    """Keeps the files of one checkpoint, from any thread; one whose version nobody can tell is not kept."""

    def __init__(self, folder: str, model: str, commit: str) -> None:
        self._model = Path(folder, model)
        self._blobs, self._snapshot = self._model / "blobs", self._model / "snapshots" / commit
        self._lock = threading.Lock()
        self._kept: dict[FileFacts, _Kept] = {}
        self._turn: int | None = None  # the folder, open and locked; -1 if another run has locked it

    def read(self, file: FileFacts, offset: int, view: memoryview) -> bool:
        """Fills `view` if all of it is kept; OutputError if it cannot be read."""
        return bool(file.version) and self._file(file).read(offset, view)

    def keep(self, file: FileFacts, offset: int, view: memoryview) -> None:
        """Keeps these bytes, unless another run does; OutputError if they cannot be written."""
        if file.version:
            self._file(file).write(offset, view)

    def close(self) -> None:
        """Notes what was written since it was last noted."""
        with self._lock:
            kept, self._kept = list(self._kept.values()), {}
        try:
            for file in kept:
                file.close()
        finally:
            turn, self._turn = self._turn, None
            if turn is not None and turn >= 0:
                os.close(turn)

    def _file(self, file: FileFacts) -> "_Kept":
        with self._lock:
            if self._turn is None:
                self._turn = _turn_at(self._model)
            if file not in self._kept:
                blob, link = self._blobs / _key(file), self._snapshot / file.name
                self._kept[file] = _Kept(file, blob, link, keeps=self._turn >= 0)
            return self._kept[file]


def _turn_at(model: Path) -> int:
    """The folder, opened and locked until it is closed where the file system has locks; -1 if another run has it."""
    try:
        model.mkdir(parents=True, exist_ok=True)
        fd = os.open(model, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OutputError(model, f"cannot be written: {error.strerror}", _ADVICE) from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    except OSError:
        pass
    return fd


def _key(file: FileFacts) -> str:
    """What the Hub calls the blob; of other servers' versions a digest."""
    if file.version.isalnum():
        return file.version
    return hashlib.sha256(f"{file.name}\n{file.size}\n{file.version}".encode()).hexdigest()


class _Kept:
    """One file: whole as `blob`, or with holes beside it."""

    def __init__(self, file: FileFacts, blob: Path, link: Path, *, keeps: bool) -> None:
        self._file, self._blob, self._link, self._keeps = file, blob, link, keeps
        self._holed, self._noted = Path(f"{blob}.deepgguf"), Path(f"{blob}.deepgguf.ranges")
        self._lock = threading.Lock()
        self._whole = blob.is_file() and blob.stat().st_size == file.size
        known = keeps and not self._whole
        self._ranges = _joined(_read_ranges(self._noted, self._holed, file.size)) if known else []
        self._pending: list[tuple[int, int]] = []

    def read(self, offset: int, view: memoryview) -> bool:
        with self._lock:
            there = self._whole or any(first <= offset and offset + len(view) <= end for first, end in self._ranges)
            path = self._blob if self._whole else self._holed
            if not there:
                return False
            try:
                with path.open("rb", buffering=0) as opened:
                    return os.preadv(opened.fileno(), [view], offset) == len(view)
            except OSError as error:
                raise OutputError(path, f"cannot be read: {error.strerror}", "look at the disk") from None

    def write(self, offset: int, view: memoryview) -> None:
        with self._lock:
            if self._whole or not self._keeps:
                return
            try:
                self._blob.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(self._holed, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    done = 0
                    while done < len(view):
                        done += os.pwrite(fd, view[done:], offset + done)
                finally:
                    os.close(fd)
                self._pending.append((offset, offset + len(view)))
                self._ranges = _joined([*self._ranges, self._pending[-1]])
                whole = self._ranges == [(0, self._file.size)]
                if whole or sum(end - first for first, end in self._pending) >= _SYNCED:
                    self._note()
                if whole:
                    self._complete()
            except OSError as error:
                raise OutputError(self._holed, f"cannot be written: {error.strerror}", _ADVICE) from None

    def close(self) -> None:
        with self._lock:
            try:
                self._note()
            except OSError as error:
                raise OutputError(self._noted, f"cannot be written: {error.strerror}", _ADVICE) from None

    def _note(self) -> None:
        """What is pending: first on the medium, then in the list."""
        if not self._pending:
            return
        with self._holed.open("rb") as written:
            os.fsync(written.fileno())
        with self._noted.open("a") as noted:
            noted.writelines(f"{first} {end}\n" for first, end in _joined(self._pending))
        self._pending = []

    def _complete(self) -> None:
        """Gives the blob its name and the snapshot its symlink."""
        self._holed.rename(self._blob)
        self._noted.unlink(missing_ok=True)
        self._whole = True
        self._link.parent.mkdir(parents=True, exist_ok=True)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.path.relpath(self._blob, self._link.parent))


def _read_ranges(noted: Path, holed: Path, size: int) -> list[tuple[int, int]]:
    """The ranges of a list that another run left; none if it is damaged, or the blob is not there."""
    try:
        lines = noted.read_text().splitlines() if holed.is_file() else []
        ranges = [(int(first), int(end)) for first, end in (line.split() for line in lines)]
    except (OSError, ValueError):
        return []
    return ranges if all(0 <= first <= end <= size for first, end in ranges) else []


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes in as few ranges as possible."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined
