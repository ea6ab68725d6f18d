"""A small file that is there as a whole or not at all."""

import os
from pathlib import Path

from deepgguf.run.disk import Disk


def write_whole(path: Path, text: str) -> None:
    """Writes `text` under another name first, then gives it the name `path`, whatever has it.

    OutputError if it cannot be written.
    """
    disk, part = Disk(), path.with_name(f"{path.name}.part")
    disk.remove(part)
    fd = disk.create(part)
    try:
        disk.write(fd, part, memoryview(text.encode()), 0)
        disk.sync(fd, part)
    finally:
        os.close(fd)
    disk.rename(part, path)
