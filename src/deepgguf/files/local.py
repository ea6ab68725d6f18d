"""A folder of this machine, or a model in Hugging Face's cache."""

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from deepgguf.errors import CheckpointError, OutputError, UsageError
from deepgguf.files.files import Buffer, FileFacts, Files, changed, flat
from deepgguf.files.hub_cache import blobs_folder, folder_name, hub_repository, snapshot_folder
from deepgguf.files.regular_file import OpenFile, open_regular, unreadable

_WANTED = "give the folder that holds config.json and the safetensors files"
_OPEN_AT_A_TIME = 64


class LocalFiles(Files):
    """The regular files of a folder, opened when first read, at most `limit` of them open at a time.

    A file is never closed while another thread reads it. A symlink may lead to a file in the same folder, or from a
    snapshot of Hugging Face's cache to its blobs; others could publish any file of this machine.
    """

    def __init__(self, path: str | os.PathLike[str], limit: int = _OPEN_AT_A_TIME) -> None:
        """Finds the folder, that of a snapshot if `path` is a model's folder in Hugging Face's cache.

        Raises UsageError if there is no such folder, or several snapshots and no refs/main.
        """
        given = Path(path)
        try:
            mode = given.stat().st_mode
        except OSError as e:
            found = "no such folder" if isinstance(e, FileNotFoundError) else f"cannot be read: {e.strerror}"
            raise UsageError(given, found, _WANTED) from None
        if not stat.S_ISDIR(mode):
            raise UsageError(given, "a file, not the folder of a checkpoint", _WANTED)
        self.__setstate__((str(snapshot_folder(given).absolute()), limit, False))

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> tuple[Self, str]:
        """The folder of a file that the user names, and the file's name in it; its symlinks may lead anywhere."""
        files = cls.__new__(cls)
        files.__setstate__((str(Path(path).parent.absolute()), _OPEN_AT_A_TIME, True))
        return files, Path(path).name

    def __getstate__(self) -> tuple[str, int, bool]:
        """What is pickled: the folder, not what is open."""
        return self._folder, self._limit, self._any_symlink

    def __eq__(self, other: object) -> bool:
        """Whether both read the same folder in the same way; a plan is a value, its source too."""
        return isinstance(other, type(self)) and self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        """That of the folder."""
        return hash(self.__getstate__())

    def __setstate__(self, state: tuple[str, int, bool]) -> None:
        """Starts with nothing open."""
        self._folder, self._limit, self._any_symlink = state
        self._lock = threading.Lock()
        self._open: OrderedDict[str, OpenFile] = OrderedDict()  # least recently used first

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

    def facts(self, name: str) -> FileFacts:
        """Size and time of change."""
        return open_regular(self.local_path(name), name).facts

    def readinto(self, file: FileFacts, offset: int, buffer: Buffer) -> None:
        """Reads by pread, and looks afterwards whether the file has changed: its bytes would be of two files."""
        view, opened = flat(buffer), self._opened(file)
        try:
            done = opened.readinto(offset, view)
        except OSError as e:
            found = f"reading {len(view):,} bytes at byte {offset:,} failed: {e.strerror}"
            raise OutputError(file.name, found, "check the disk, then run again with `resume=True`") from None
        if done < len(view) or not opened.unchanged:
            raise changed(file)

    def local_path(self, name: str) -> str:
        """The file's real path; CheckpointError if there is none, or a symlink leads out of the folder."""
        try:
            real = os.path.realpath(Path(self._folder, name), strict=True)
            folder = os.path.realpath(self._folder, strict=True)
        except OSError as e:
            raise unreadable(name, e, "download it again") from None
        allowed = [a for a in (folder, blobs_folder(folder)) if a]
        if not self._any_symlink and not any(Path(real).is_relative_to(a) for a in allowed):
            raise CheckpointError(
                name, f"a symlink to {real}, outside the checkpoint's folder", "put the file itself into the folder"
            )
        return real

    def close(self) -> None:
        """Closes all files, those that other threads read when these are done."""
        with self._lock:
            self._open.clear()

    def _opened(self, file: FileFacts) -> OpenFile:
        with self._lock:
            opened = self._open.get(file.name)
            if opened is None or opened.facts != file:
                self._open.pop(file.name, None)
                while len(self._open) >= self._limit:
                    self._open.popitem(last=False)
                opened = open_regular(self.local_path(file.name), file.name)
                if opened.facts != file:
                    raise changed(file)
                self._open[file.name] = opened
            self._open.move_to_end(file.name)
            return opened
