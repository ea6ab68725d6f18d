"""Makes windows: reads the source, makes every piece, writes it to its place; in any thread, process or machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
import numpy as np
import xxhash

from deepgguf.encodings.encoding import Squares, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.executors.node import here
from deepgguf.executors.turns import Turns
from deepgguf.files.files import ReadByNumber
from deepgguf.planning.ahead import windows_ahead
from deepgguf.planning.joint import Planned
from deepgguf.planning.pieces import Piece
from deepgguf.planning.windows import Share, Window, window_buffer
from deepgguf.run.destination import FarWriter, Span, Writer
from deepgguf.run.piece import Made, make_piece
from deepgguf.run.result import Result
from deepgguf.run.window_bytes import WindowBytes


class Worker:
    """What every task of a run needs; it can be pickled, and opens its files where it is used."""

    def __init__(
        self,
        plan: Planned,
        writers: Mapping[int, Writer] | None,
        *,
        measure_error: bool = False,
        at_once: int | None = None,
    ) -> None:
        """`writers`: by a file's number; None where the files cannot be reached: then results hold the bytes.

        `at_once` threads make pieces, by default all that there are; the others read what comes next.
        """
        self._files, self._sources, self._importances = plan.source, plan.sources, plan.importances
        self._reads_once, self._window = plan.reads_once, window_buffer(plan)
        self._writers, self._measure_error = writers, measure_error
        at_once = at_once if plan.source.whole_windows else None  # what is read when it is used, is not read ahead
        self._turns = Turns(at_once, plan.source.connections, windows_ahead(plan))

    def make(self, window: Window) -> Iterator[Result]:
        """Makes the window's pieces; a result follows each, as soon as its bytes are written."""
        writers = self._writers
        with self._turns.window() as buffers:
            for share, number, piece, made in self._pieces(window, buffers):
                digest = xxhash.xxh3_128_digest(made.out.data)
                offset, data = share.start + piece.offset, None
                if writers:
                    writers[share.file].write(made.out.data, offset)
                else:
                    data = made.out.tobytes()
                squares = self._squares(share, made, buffers)
                yield Result(share.file, number, offset, piece.nbytes, digest, made.counts, squares, data, here())

    def pieces(self, window: Window) -> Iterator[tuple[Share, int, Piece, Made]]:
        """The window's pieces with their numbers, made but not written; each is valid until the next."""
        with self._turns.window() as buffers:
            yield from self._pieces(window, buffers)

    def _pieces(self, window: Window, buffers: Buffers) -> Iterator[tuple[Share, int, Piece, Made]]:
        with self._reader(window, buffers) as read, self._turns.turn():
            for share in window.shares:
                importance = self._importances[share.file]
                for number, piece in enumerate(share.pieces, share.number):
                    yield share, number, piece, make_piece(share, piece, read, buffers, importance)

    def close(self) -> None:
        """Lets go of the files: each is closed, and its number free for another, when no thread writes to it."""
        self._writers = None

    @contextmanager
    def _reader(self, window: Window, buffers: Buffers) -> Iterator[ReadByNumber]:
        """Reads the window at once where the plan has it so, else what is asked for when it is asked for."""
        if not self._reads_once:
            yield self._files.by_number(self._sources)
            return
        with self._turns.reading(sum(span.nbytes for span in window.ranges())):
            held = WindowBytes(self._files, self._sources, window, buffers, self._window)
        try:
            yield held.readinto
        finally:
            held.release()

    def _squares(self, share: Share, made: Made, buffers: Buffers) -> Squares | None:
        if made.floats is None or not self._measure_error:
            return None
        length = share.output.view.row_length
        stored = Stored(share.output.info.name, 0, made.floats.size // length, length, (made.out,))
        error = share.output.encoding.values(stored, buffers).reshape(-1) - made.floats
        return Squares(float(np.dot(error, error)), float(np.dot(made.floats, made.floats)))


class FarWorker(Worker):
    """A worker on another machine than the coordinator's, that writes: nobody else can see to it that its bytes stay.

    So it reports the pieces of a task when they do.
    """

    def __init__(
        self,
        plan: Planned,
        writers: Mapping[int, FarWriter],
        *,
        measure_error: bool = False,
        at_once: int | None = None,
    ) -> None:
        """`writers`: by a file's number."""
        super().__init__(plan, writers, measure_error=measure_error, at_once=at_once)
        self._far = writers

    def make_all(self, span: Span) -> Iterator[Result]:
        """Makes the pieces of all windows, then reports them."""
        results = [result for window in span.windows for result in self.make(window)]
        for file, last in {result.file: number for number, result in enumerate(results)}.items():
            results[last] = msgspec.structs.replace(results[last], parts=self._far[file].settle())
        yield from results
