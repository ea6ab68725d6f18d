"""A small file that is there as a whole or not at all."""

import os
import secrets
from pathlib import Path

from deepgguf.run.disk import Disk


def write_whole(path: Path, text: str) -> None:
    """Writes `text` under a name of its own first, then gives it the name `path`, whatever has it.

    OutputError if it cannot be written; then nothing is left.
    """
    disk, part = Disk(), path.with_name(f".deepgguf-{secrets.token_hex(8)}.part")
    fd = disk.create(part)
    try:
        disk.write(fd, part, memoryview(text.encode()), 0)
        disk.sync(fd, part)
        disk.rename(part, path)
    except BaseException:
        disk.remove(part)
        raise
    finally:
        os.close(fd)
