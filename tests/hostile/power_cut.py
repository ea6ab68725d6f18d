"""A disk that loses power: of what was not synced, some is lost, some torn, some reordered."""

import os
import random
import signal
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepgguf.run.disk import Disk

SECTOR = 512


class File:
    """A file's bytes on the medium, and the changes that are still only in memory."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable, self.pending = bytearray(durable), []

    def apply(self, change: tuple[int, bytes]) -> None:
        """A write at an offset; with no bytes it sets the size."""
        at, data = change
        if not data:
            del self.durable[at:]
            at, data = len(self.durable), bytes(at - len(self.durable))
        self.durable.extend(bytes(max(0, at + len(data) - len(self.durable))))
        self.durable[at : at + len(data)] = data


class PowerCut(Disk):
    """Tracks what is on the medium; before call number `at`, puts `folder` into a state that a power cut can leave.

    `at` seeds the choice of state. Then the process ends as if killed.
    """

    def __init__(self, folder: Path, at: int) -> None:
        self._folder, self._at, self._calls = folder, at, 0
        self._lock = threading.Lock()
        self._files: dict[int, File] = {}
        self._names: dict[str, int] = {}
        self._pending_names: list[tuple[str, str, int]] = []
        for path in folder.iterdir():
            self._names[path.name] = path.stat().st_ino
            self._files[path.stat().st_ino] = File(path.read_bytes())

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        with self._lock:
            self._calls += 1
            if self._calls == self._at:
                self._cut()
            synced = self._unsynced(args[0]) if name == "fsync" else 0
        result = function(*args)
        with self._lock:
            if name == "fsync":
                self._sync(args[0], synced)
            else:
                self._note(name, function, args, result)
        return result

    def _unsynced(self, fd: int) -> int:
        """The number of changes that a sync starting now will put on the medium."""
        facts = os.fstat(fd)
        return len(self._pending_names if stat.S_ISDIR(facts.st_mode) else self._files[facts.st_ino].pending)

    def _sync(self, fd: int, count: int) -> None:
        facts = os.fstat(fd)
        if stat.S_ISDIR(facts.st_mode):
            for change in self._pending_names[:count]:
                self._rename(*change)
            del self._pending_names[:count]
        else:
            file = self._files[facts.st_ino]
            for change in file.pending[:count]:
                file.apply(change)
            del file.pending[:count]

    def _note(self, name: str, function: Callable[..., Any], args: Any, result: Any) -> None:
        if name == "create":
            inode = os.fstat(result).st_ino
            self._files[inode] = File()
            self._pending_names.append(("", args[0].name, inode))
        elif name == "write":
            fd, data, offset = args
            self._files[os.fstat(fd).st_ino].pending.append((offset, bytes(data[:result])))
        elif name in ("allocate", "truncate"):
            self._files[os.fstat(args[0]).st_ino].pending.append((args[-1], b""))
        elif name == "rename":
            self._pending_names.append((args[0].name, args[1].name, args[1].stat().st_ino))
        elif name == "remove":
            self._pending_names.append((function.__self__.name, "", 0))  # type: ignore[attr-defined]

    def _rename(self, old: str, new: str, inode: int) -> None:
        """A change of names on the medium: made (no old name), renamed, removed (no new one)."""
        self._names.pop(old, None)
        if new:
            self._names[new] = inode

    def _cut(self) -> None:
        chance = random.Random(self._at)
        for change in self._pending_names[: chance.randint(0, len(self._pending_names))]:
            self._rename(*change)
        for file in self._files.values():
            kept = [change for change in file.pending if chance.random() < 0.6]
            chance.shuffle(kept)
            for at, data in kept:
                torn = data[: chance.randrange(len(data) // SECTOR) * SECTOR] if len(data) > SECTOR else data
                file.apply((at, torn if torn and chance.random() < 0.3 else data))
        for path in self._folder.iterdir():
            path.unlink()
        for name, inode in self._names.items():
            (self._folder / name).write_bytes(self._files[inode].durable)
        os.kill(os.getpid(), signal.SIGKILL)
