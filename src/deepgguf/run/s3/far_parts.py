"""Parts that workers of other machines upload: those that the windows of one task hold whole."""

import threading
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from deepgguf.errors import DeepggufError
from deepgguf.planning.windows import Share, Window
from deepgguf.run.destination import Span
from deepgguf.run.s3.bucket import Bucket
from deepgguf.run.s3.parts import Layout, Parts, Target, Uploads

_LEAST = 32 << 20  # bytes of what a task makes: the pieces at both its ends are made twice


class FarParts:
    """Uploads what each thread writes of one file between two calls of `settle`, as far as it fills parts."""

    def __init__(self, bucket: str, target: Target, layout: Layout) -> None:
        self._bucket, self._target, self._layout = bucket, target, layout
        self._lock, self._threads = threading.Lock(), threading.local()
        self._uploads: Uploads | None = None

    def __reduce__(self) -> tuple[type["FarParts"], tuple[str, Target, Layout]]:
        """Sent elsewhere, it connects there, with the credentials that are there."""
        return FarParts, (self._bucket, self._target, self._layout)

    def obstacle(self) -> str:
        """See `FarWriter.obstacle`."""
        try:
            self._opened().bucket.parts(*self._target)
        except DeepggufError as error:
            return error.found
        finally:
            self.close()
        return ""

    def write(self, data: memoryview, offset: int) -> None:
        """See `Writer.write`."""
        parts = self._threads.__dict__.get("parts")
        if parts is None:
            parts = self._threads.parts = Parts(self._opened(), self._target, self._layout, {})
        parts.write(data, offset)

    def settle(self) -> Mapping[int, str]:
        """See `FarWriter.settle`: the tags of the parts. What fills none is another task's too."""
        parts: Parts = self._threads.__dict__.pop("parts")
        return parts.settled()

    def close(self) -> None:
        """See `Writer.close`."""
        if self._uploads:
            self._uploads.close()
            self._uploads.bucket.close()
            self._uploads = None

    def _opened(self) -> Uploads:
        with self._lock:
            if self._uploads is None:
                self._uploads = Uploads(Bucket(self._bucket))
            return self._uploads


def by_parts(windows: Iterator[Window], part_bytes: Sequence[int]) -> Iterator[Span]:
    """The same pieces, in spans that hold whole parts: a piece on the border of two spans is in both.

    `windows` follow the outputs; `part_bytes` is how long each file's parts are.
    """
    held: list[Window] = []
    border: Share | None = None
    begin, file = 0, -1
    for window in windows:
        shares: list[Share] = []
        for share in _singly(window):
            start = share.start + share.pieces[0].offset
            stop, length = start + share.pieces[0].nbytes, part_bytes[share.file]
            if share.file != file:
                if held or shares:
                    yield _span(held, shares)
                held, shares, border, begin, file = [], [], None, start, share.file
            shares += (border, share) if border else (share,)  # what follows the border is in a part with its end
            border = None
            if start // length < stop // length and stop - begin >= _LEAST:
                yield _span(held, shares)
                held, shares, border, begin = [], [], share if stop % length else None, start
        if shares:
            held.append(Window(tuple(shares)))
    if held:
        yield Span(tuple(held))


def _span(held: Sequence[Window], shares: Sequence[Share]) -> Span:
    return Span((*held, Window(tuple(shares))) if shares else tuple(held))


def _singly(window: Window) -> Iterator[Share]:
    """The window's pieces, each in a share of its own."""
    for share in window.shares:
        for number, piece in enumerate(share.pieces, share.number):
            yield msgspec.structs.replace(share, number=number, pieces=(piece,))
