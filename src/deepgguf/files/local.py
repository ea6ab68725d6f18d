"""A folder of this machine, or a model in Hugging Face's cache."""

import os
import resource
import stat
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from deepgguf.errors import CheckpointError, OutputError, UsageError
from deepgguf.files.files import Buffer, FileFacts, Files, changed, flat, gone
from deepgguf.files.hub_cache import blobs_folder, folder_name, hub_repository, snapshot_folder
from deepgguf.files.regular_file import NOT_THERE, OpenFile, not_regular, open_regular, unreadable

_GGUF = "a GGUF file needs no conversion: run it as it is, or give it to `quantize`"
_WANTED = "give the folder that holds config.json and the safetensors files"


class LocalFiles(Files):
    """The regular files of a folder, opened when first read, at most `limit` of them open at a time.

    Without `limit` it is a quarter of what the process may have open. If even that is too many, fewer are open. A file
    is never closed while another thread reads it: a thread waits until one that is open can be closed.

    A symlink may lead to a file in the same folder, or from a snapshot of Hugging Face's cache to its blobs, wherever
    these lie; others could publish any file of this machine. A SafeTensors file may lie anywhere, as on another disk:
    of a file that is not one no byte is published, as its header must account for all of them.
    """

    def __init__(self, path: str | os.PathLike[str], limit: int | None = None) -> None:
        """Finds the folder, that of a snapshot if `path` is a model's folder in Hugging Face's cache.

        Raises UsageError if there is no such folder, or several snapshots and no refs/main; OutputError if it cannot be
        read.
        """
        given = Path(path)
        try:
            if not stat.S_ISDIR(given.stat().st_mode):
                advice = _GGUF if given.suffix == ".gguf" else _WANTED
                raise UsageError(given, "a file, not the folder of a checkpoint", advice)
            folder = snapshot_folder(given).absolute()
        except OSError as e:
            found = "no such folder" if isinstance(e, FileNotFoundError) else f"cannot be read: {e.strerror}"
            if e.errno in NOT_THERE:
                raise UsageError(given, found, _alike(given) or _WANTED) from None
            raise OutputError(given, found, "check the disk and the permissions, then try again") from None
        self.__setstate__((str(folder), limit, False))

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> tuple[Self, str]:
        """The folder of a file that the user names, and the file's name in it; its symlinks may lead anywhere."""
        files = cls.__new__(cls)
        files.__setstate__((str(Path(path).parent.absolute()), None, True))
        return files, Path(path).name

    def __getstate__(self) -> tuple[str, int | None, bool]:
        """What is pickled: the folder, not what is open."""
        return self._folder, self._limit, self._any_symlink

    def __eq__(self, other: object) -> bool:
        """Whether both read the same folder in the same way; a plan is a value, its source too."""
        return isinstance(other, type(self)) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        """That of the folder."""
        return hash(self.__getstate__())

    def __setstate__(self, state: tuple[str, int | None, bool]) -> None:
        """Starts with nothing open."""
        self._folder, self._limit, self._any_symlink = state
        self._state = threading.Condition()  # guards what follows; tells of a file that nobody reads any more
        self._open: OrderedDict[str, OpenFile] = OrderedDict()  # least recently used first
        self._readers: Counter[OpenFile] = Counter()

    @property
    def place(self) -> str:
        """The folder, absolute."""
        return self._folder

    @property
    def checkpoint_name(self) -> str:
        """The folder's name, in Hugging Face's cache the model's."""
        return folder_name(Path(self._folder))

    @property
    def repository(self) -> tuple[str | None, str | None]:
        """That of a snapshot in Hugging Face's cache."""
        return hub_repository(Path(self._folder))

    def names(self) -> Sequence[str]:
        """The names of everything in the folder, sorted."""
        try:
            return sorted(path.name for path in Path(self._folder).iterdir())
        except OSError as e:
            raise unreadable(self._folder, e, _WANTED) from None

    def names_in(self, folder: str) -> Sequence[str]:
        """The names of everything in that folder, sorted."""
        try:
            return sorted(f"{folder}/{path.name}" for path in Path(self.local_path(folder)).iterdir())
        except OSError as e:
            raise unreadable(folder, e, "download it again") from None

    def facts(self, name: str) -> FileFacts:
        """Size and time of change."""
        with self._state:
            return self._open_new(name).facts

    def readinto(self, file: FileFacts, offset: int, buffer: Buffer) -> None:
        """Reads by pread, and looks afterwards whether the file has changed: its bytes would be of two files."""
        view = flat(buffer)
        with self._reading(file) as opened:
            try:
                whole = opened.readinto(offset, view) == len(view) and opened.unchanged
            except OSError as e:
                found = f"reading {len(view):,} bytes at byte {offset:,} failed: {e.strerror}"
                raise OutputError(file.name, found, "check the disk, then run again with `resume=True`") from None
        if not whole:
            raise changed(file)

    def local_path(self, name: str) -> str:
        """The file's real path.

        CheckpointError if there is none, or a symlink of another than a SafeTensors file leads out of the folder;
        OutputError if it cannot be looked for.
        """
        try:
            real = os.path.realpath(Path(self._folder, name), strict=True)
            folder = os.path.realpath(self._folder, strict=True)
        except OSError as e:
            raise _elsewhere(Path(self._folder), name) or unreadable(name, e, "download it again") from None
        anywhere = self._any_symlink or (name.endswith(".safetensors") and ".." not in Path(name).parts)
        allowed = [a for a in (folder, blobs_folder(folder)) if a]
        if not anywhere and not any(Path(real).is_relative_to(a) for a in allowed):
            raise CheckpointError(
                name, f"a symlink to {real}, outside the checkpoint's folder", "put the file itself into the folder"
            )
        return real

    def close(self) -> None:
        """Closes all files, those that other threads read when these are done."""
        with self._state:
            self._open.clear()

    @contextmanager
    def _reading(self, file: FileFacts) -> Iterator[OpenFile]:
        """The open file, which stays open meanwhile."""
        with self._state:
            opened = self._opened(file)
            self._readers[opened] += 1
        try:
            yield opened
        finally:
            with self._state:
                self._readers[opened] -= 1
                if not self._readers[opened]:
                    del self._readers[opened]
                    self._state.notify()

    def _opened(self, file: FileFacts) -> OpenFile:
        """The file, opened unless it is already; `_state` is held."""
        while (opened := self._open.get(file.name)) is None or opened.facts != file:
            self._open.pop(file.name, None)
            if len(self._open) >= (self._limit or _quarter_of_what_may_be_open()):
                self._make_room()
                continue  # another thread may have opened the file meanwhile
            try:
                opened = self._open_new(file.name)
            except CheckpointError as error:
                raise gone(error) from None
            if opened.facts != file:
                raise changed(file)
            self._open[file.name] = opened
        self._open.move_to_end(file.name)
        return opened

    def _open_new(self, name: str) -> OpenFile:
        return open_regular(self.local_path(name), name, self._make_room)

    def _make_room(self) -> bool:
        """Closes the file that was read longest ago, or waits until one has been read; False if none is open here."""
        idle = next((name for name, opened in self._open.items() if not self._readers[opened]), None)
        if idle is not None:
            del self._open[idle]
        elif self._readers:
            self._state.wait()
        else:
            return False
        return True


def _alike(path: Path) -> str | None:
    """What to say where a folder beside `path` is called nearly so; None if none is."""
    try:
        names = {folder.name.lower(): folder.name for folder in path.parent.iterdir() if folder.is_dir()}
    except OSError:
        return None
    found = get_close_matches(path.name.lower(), names, 1, 0.8)
    return f"there is {path.parent / names[found[0]]}: give that" if found else None


def _elsewhere(folder: Path, name: str) -> CheckpointError | None:
    """What to say of a shard that is a symlink to another disk, which is not mounted; None of any other file."""
    path = folder / name
    target = Path(os.path.realpath(path))
    if not name.endswith(".safetensors") or not path.is_symlink() or os.path.lexists(target):
        return None
    homes = (Path(os.path.realpath(folder)), Path(blobs_folder(os.path.realpath(folder)) or folder))
    if any(target.is_relative_to(home) for home in homes):
        return None
    found = f"a symlink to {target}, where there is no file"
    return CheckpointError(name, found, "mount the disk that it lies on, or download the file again")


def _quarter_of_what_may_be_open() -> int:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1024 if most == resource.RLIM_INFINITY else max(1, most // 4)


def named_file(path: str | os.PathLike[str], what: str) -> tuple[LocalFiles, str]:
    """As `LocalFiles.of_file`, of what a choice names; UsageError if there is no such regular file."""
    try:
        found = not_regular(Path(path).stat().st_mode)
    except OSError as e:
        found = "no such file" if isinstance(e, FileNotFoundError) else f"cannot be read: {e.strerror}"
    if found:
        raise UsageError(os.fspath(path), found, f"give the path of {what}")
    return LocalFiles.of_file(path)
