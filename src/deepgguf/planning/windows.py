"""The unit of a task: source bytes that are read once, and every piece of every output that is made of them.

Where a request is worth megabytes, windows follow the source: what lies side by side in a shard is read together,
whichever outputs it goes to. Elsewhere they follow the outputs, which are written faster in their order. They decide
nothing about the bytes; a piece is the same in any window.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from deepgguf.planning.numbering import Numbering, Place
from deepgguf.planning.pieces import Piece, runs
from deepgguf.planning.schema import OutputTensor, Plan
from deepgguf.tensors.source_tensor import FileRange, SourceTensor

_BLOCK = re.compile(r".*?blk\.\d+|[^.]+")
_LARGEST, _SMALLEST = 32 << 20, 8 << 20
_WINDOWS = 1 << 14  # of a source that is read by whole windows: what a crash loses of it is in proportion


class Share(msgspec.Struct, frozen=True):
    """Consecutive pieces that one source tensor makes of one output; all that a worker needs to make them.

    `file` is the output file's number in the plan, `start` the byte of that file at which the tensor's data begin,
    `number` the number of the first piece in the file.
    """

    file: int
    start: int
    number: int
    output: OutputTensor
    source: SourceTensor
    pieces: tuple[Piece, ...]

    def ranges(self) -> Iterator[FileRange]:
        """The bytes of every blob that the pieces need, from the first to the last."""
        view = self.output.view
        if view.woven:
            first, stop = self.pieces[0].row, self.pieces[-1].row + self.pieces[-1].rows
            first, stop = first - first % view.head_rows, stop + -stop % view.head_rows  # whole heads
            return self.source.ranges(view.cols, first, stop - first)
        (first, _), (last, count) = runs(view, self.pieces[0])[0], runs(view, self.pieces[-1])[-1]
        return self.source.ranges(view.cols, first, last + count - first)

    @property
    def nbytes(self) -> int:
        """Bytes to be read of all blobs."""
        return sum(span.nbytes for span in self.ranges())


class Window(msgspec.Struct, frozen=True):
    """Shares that are worked through one after the other, each piece by piece."""

    shares: tuple[Share, ...]

    @property
    def label(self) -> str:
        """What a cluster calls the task: the block that it begins with, for every tensor would be too many names."""
        found = _BLOCK.match(self.shares[0].output.info.name)
        return found[0] if found else ""

    def ranges(self) -> tuple[FileRange, ...]:
        """What must be read, in the order of the source, what touches or overlaps joined."""
        joined: list[FileRange] = []
        for span in sorted(span for share in self.shares for span in share.ranges()):
            last = joined[-1] if joined else None
            if last and last.file == span.file and span.start <= last.stop:
                joined[-1] = last._replace(stop=max(last.stop, span.stop))
            else:
                joined.append(span)
        return tuple(joined)


class _Origin(NamedTuple):
    """Where a source tensor's weights begin, and which source of which output it is."""

    source_file: int
    offset: int
    file: int
    tensor: int
    source: int


def window_bytes(plan: Plan) -> int:
    """Bytes of the source that a window has at most, unless a single piece needs more."""
    if not plan.source.whole_windows:
        return _LARGEST
    return max(_SMALLEST, min(_LARGEST, sum(file.size for file in plan.sources) // _WINDOWS))


Unfinished = Callable[[int, int], bool]
"""(output file, piece) -> whether the piece is still to be made."""


def windows(
    plan: Plan, unfinished: Unfinished = lambda file, number: True, *, by_outputs: bool = False
) -> Iterator[Window]:
    """All windows of `plan`, without the pieces that are not `unfinished`; `by_outputs` whatever the source is."""
    numberings = [Numbering(file, plan.piece_weights) for file in plan.files]
    origins = sorted(_origins(plan)) if plan.source.whole_windows and not by_outputs else _origins(plan)
    shares: list[Share] = []
    most, nbytes = window_bytes(plan), 0
    for origin in origins:
        for share in _shares(numberings[origin.file], origin, most, unfinished):
            size = share.nbytes
            if shares and nbytes + size > most:
                yield Window(tuple(shares))
                shares, nbytes = [], 0
            shares.append(share)
            nbytes += size
    if shares:
        yield Window(tuple(shares))


def _origins(plan: Plan) -> Iterator[_Origin]:
    for file_number, file in enumerate(plan.files):
        for number, tensor in enumerate(file.tensors):
            for source, stored in enumerate(tensor.sources):
                yield _Origin(stored.blobs[0].file, stored.blobs[0].offset, file_number, number, source)


def _shares(numbering: Numbering, origin: _Origin, window: int, unfinished: Unfinished) -> Iterator[Share]:
    """The unfinished pieces of one source tensor in runs of at most `window` bytes."""
    tensor, how = numbering.file.tensors[origin.tensor], numbering.cuts[origin.tensor]
    source, start = tensor.sources[origin.source], numbering.tensor_start(origin.tensor)
    most = max(1, how.per_source * window // source.nbytes)
    first = numbering.number(Place(origin.tensor, origin.source * how.per_source))
    for numbers in _runs(first, how.per_source, most, lambda number: unfinished(origin.file, number)):
        pieces = tuple(numbering.piece(numbering.place(number)) for number in numbers)
        yield Share(origin.file, start, numbers[0], tensor.output, source, pieces)


def _runs(first: int, count: int, most: int, wanted: Callable[[int], bool]) -> Iterator[range]:
    """The wanted of `count` numbers from `first` on, as runs of at most `most`."""
    begin = first
    for number in range(first, first + count + 1):
        if number == first + count or not wanted(number):
            if begin < number:
                yield range(begin, number)
            begin = number + 1
        elif number - begin == most:
            yield range(begin, number)
            begin = number
