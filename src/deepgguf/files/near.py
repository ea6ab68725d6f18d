"""A copy, on this machine, of a file that is elsewhere and is read all over: an importance matrix."""

import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from deepgguf.errors import OutputError
from deepgguf.executors.threads import Threads
from deepgguf.files.files import FileFacts, Files
from deepgguf.files.local import LocalFiles

_RANGE = 16 << 20  # bytes of a request


class NearFile(LocalFiles):
    """A folder with the copy, which goes when nobody holds this object any more."""

    def keep(self, folder: tempfile.TemporaryDirectory[str]) -> None:
        """Has the folder removed with this object."""
        weakref.finalize(self, folder.cleanup)


def copied(files: Files, name: str) -> tuple[NearFile, str]:
    """A file of `files`, copied to where temporary files lie (TMPDIR); errors are those of reading, and OutputError."""
    file = files.facts(name)
    try:
        folder = tempfile.TemporaryDirectory(prefix="deepgguf-")
        near = NearFile(folder.name)
        near.keep(folder)
        path = Path(folder.name, Path(name).name)
        with path.open("wb") as copy:
            copy.truncate(file.size)
        _copy(files, file, path)
    except OSError as error:
        found = f"cannot be copied to {error.filename or tempfile.gettempdir()}: {error.strerror}"
        raise OutputError(name, found, "free space there, or set TMPDIR") from None
    return near, path.name


def _copy(files: Files, file: FileFacts, path: Path) -> None:
    def copy(start: int) -> Iterator[None]:
        data = files.read(file, start, min(_RANGE, file.size - start))
        with path.open("r+b") as opened:
            opened.seek(start)
            opened.write(data.data)
        yield

    with closing(Threads(max(1, files.connections)).map(copy, range(0, file.size, _RANGE))) as done:
        for _ in done:
            pass
