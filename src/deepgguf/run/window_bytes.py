"""A window read at once: one request for each of its ranges, and every piece served from memory."""

from bisect import bisect_right
from collections.abc import Sequence

from deepgguf.executors.buffers import Buffers
from deepgguf.files.files import Buffer, FileFacts, Files, flat
from deepgguf.planning.windows import Window


class WindowBytes:
    """The source bytes of one window, in a buffer of the worker's."""

    def __init__(
        self, files: Files, sources: Sequence[FileFacts], window: Window, buffers: Buffers, usual: int = 0
    ) -> None:
        """The buffer has `usual` bytes, or more where the window needs them: one that grows leaves holes in memory."""
        self._ranges = window.ranges()
        self._held = buffers.take("window", max(usual, sum(span.nbytes for span in self._ranges)))
        self._places: list[int] = []
        place = 0
        for span in self._ranges:
            self._places.append(place)
            files.readinto(sources[span.file], span.start, self._held[place : place + span.nbytes])
            place += span.nbytes

    def release(self) -> None:
        """Lets go of the buffer, for the next window."""
        self._held = self._held[:0]

    def readinto(self, file: int, offset: int, buffer: Buffer) -> None:
        """Fills `buffer` with bytes of the window."""
        number = bisect_right(self._ranges, (file, offset), key=lambda span: (span.file, span.start)) - 1
        begin = self._places[number] + offset - self._ranges[number].start
        target = flat(buffer)
        target[:] = self._held.data[begin : begin + target.nbytes]
