"""A small file that is there as a whole or not at all."""

import os
import secrets
from pathlib import Path

from deepgguf.errors import OutputError
from deepgguf.run.disk import Disk

_ADVICE = "look at the folder's space and permissions, then ask for it again"


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
    except OutputError as error:
        raise OutputError(path, error.found, _ADVICE) from None
    finally:
        os.close(fd)
        disk.remove(part)  # gone already, unless something failed
