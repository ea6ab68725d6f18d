"""Small reads that follow each other, by requests that grow: each thread keeps the last one's bytes."""

import threading
from collections.abc import Callable

from deepgguf.files.files import FileFacts, changed

_FIRST, _MOST = 256 << 10, 8 << 20  # bytes of a request

Precisely = Callable[[FileFacts, int, memoryview], None]


class ReadAhead:
    """Reads through `precisely`, which takes (file, offset, bytes to fill)."""

    def __init__(self, precisely: Precisely) -> None:
        self._precisely = precisely
        self._threads = threading.local()

    def readinto(self, file: FileFacts, offset: int, view: memoryview) -> None:
        """Fills `view`; ChangedError if the file ends before, else what `precisely` raises."""
        if offset + len(view) > file.size:
            raise changed(file)
        held = self._threads.__dict__.get("held")
        if held is None or held.file != file or not held.start <= offset <= held.start + len(held.data) - len(view):
            held = self._next(held, file, offset, len(view))
            if held is None:
                return self._precisely(file, offset, view)
            self._threads.held = held
        begin = offset - held.start
        view[:] = held.data[begin : begin + len(view)]
        return None

    def _next(self, held: "_Held | None", file: FileFacts, offset: int, nbytes: int) -> "_Held | None":
        """What to hold from now on; None if so much is asked for that nothing need be held."""
        follows = held is not None and held.file == file and held.start <= offset <= held.start + len(held.data)
        size = min(_MOST, 2 * len(held.data)) if held is not None and follows else _FIRST
        if nbytes >= size:
            return None
        data = memoryview(bytearray(min(size, file.size - offset)))
        self._precisely(file, offset, data)
        return _Held(file, offset, data)


class _Held:
    def __init__(self, file: FileFacts, start: int, data: memoryview) -> None:
        self.file, self.start, self.data = file, start, data
