"""What happens on single nodes of a cluster."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deepgguf.executors.node import here
from deepgguf.files.files import Buffer, FileFacts
from deepgguf.files.local import LocalFiles
from deepgguf.run.disk import Disk


class SlowFiles(LocalFiles):
    """Every read on a node takes a while, so that all of them have something to do, and something to lose."""

    def readinto(self, file: FileFacts, offset: int, buffer: Buffer) -> None:
        if here():
            time.sleep(0.02)
        super().readinto(file, offset, buffer)


class StuckOnOneNode(SlowFiles):
    """node-3 comes to the end of nothing; the others begin when it has begun, of which a file in the folder tells them."""

    def readinto(self, file: FileFacts, offset: int, buffer: Buffer) -> None:
        begun, until = Path(self.place) / "begun", time.monotonic() + 60
        works = here() and memoryview(buffer).nbytes > 1  # a byte is read to see whether a node can
        if works and here() == "node-3":
            begun.touch()
            time.sleep(600)
        while works and not begun.exists() and time.monotonic() < until:
            time.sleep(0.01)
        super().readinto(file, offset, buffer)


class FullOnOneNode(Disk):
    """node-2 has no room for what lies behind the first megabyte of a file."""

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name == "write" and here() == "node-2" and args[2] > 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*args)
