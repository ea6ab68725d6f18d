"""The unit of a task: source bytes that are read once, and every piece of every output that is made of them.

Where a request is worth megabytes, or several outputs are made at once, every byte is read once, whichever outputs it
goes to, and pieces that are made of the same bytes follow each other. Elsewhere windows follow the outputs, which are
written faster in their order. They decide nothing about the bytes; a piece is the same in any window.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby
from typing import NamedTuple

import msgspec

from deepgguf.planning.joint import Planned
from deepgguf.planning.numbering import Numbering, Place
from deepgguf.planning.pieces import Piece, runs
from deepgguf.planning.schema import OutputTensor
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


class _Need(NamedTuple):
    """A share of one piece, and the bytes that it needs of every blob.

    They follow each other in the order of the source; of the same bytes first what takes the same of them.
    """

    weights: FileRange
    type: int
    file: int
    number: int
    spans: tuple[FileRange, ...]
    share: Share


def window_bytes(plan: Planned) -> int:
    """Bytes of the source that a window has at most, unless what cannot be parted needs more."""
    if not plan.source.whole_windows:
        return _LARGEST
    return max(_SMALLEST, min(_LARGEST, sum(file.size for file in plan.sources) // _WINDOWS))


def window_buffer(plan: Planned) -> int:
    """Bytes that a worker holds for a window: nothing where it is read piece by piece."""
    return min(window_bytes(plan), sum(file.size for file in plan.sources)) if plan.reads_once else 0


Unfinished = Callable[[int, int], bool]
"""(output file, piece) -> whether the piece is still to be made."""


def windows(
    plan: Planned, unfinished: Unfinished = lambda file, number: True, *, by_outputs: bool = False
) -> Iterator[Window]:
    """All windows of `plan`, without the pieces that are not `unfinished`; `by_outputs` whatever else holds of it."""
    numberings = [Numbering(file, plan.piece_weights) for file in plan.files]
    most = window_bytes(plan)
    once = plan.reads_once and not by_outputs
    tensors = (_by_source if once else _by_outputs)(plan, numberings, most, unfinished)
    shares: list[Share] = []
    nbytes = 0
    for made_together in tensors:
        whole = sum(size for _, size in made_together)
        for nth, (run, size) in enumerate(made_together):
            first = whole if nth == 0 and whole <= most else size
            if shares and nbytes + first > most:
                yield Window(_joined(shares))
                shares, nbytes = [], 0
            shares += run
            nbytes += size
    if shares:
        yield Window(_joined(shares))


def _joined(shares: Sequence[Share]) -> tuple[Share, ...]:
    """Shares that begin where the one before ends are joined with it."""

    def place(numbered: tuple[int, Share]) -> tuple[int, int, int, int]:
        nth, share = numbered  # the tensors of a file may follow each other and be of one source, but start elsewhere
        return share.file, share.start, id(share.source), share.number - nth

    found = []
    for _, same in groupby(enumerate(shares), place):
        first, *rest = [share for _, share in same]
        pieces = (*first.pieces, *(piece for share in rest for piece in share.pieces))
        found.append(msgspec.structs.replace(first, pieces=pieces) if rest else first)
    return tuple(found)


_Run = tuple[Sequence[Share], int]
"""Shares that belong into one window, and the bytes that they need."""

_Tensors = Iterator[Sequence[_Run]]
"""The runs of one tensor after the other. A tensor that fits into a window is not parted: its scales lie behind it in
many files, and for each of its parts they would be a request of their own."""


def _by_outputs(plan: Planned, numberings: Sequence[Numbering], most: int, unfinished: Unfinished) -> _Tensors:
    for origin in _origins(plan):
        for share in _shares(numberings[origin.file], origin, most, unfinished):
            yield (((share,), share.nbytes),)


def _by_source(plan: Planned, numberings: Sequence[Numbering], most: int, unfinished: Unfinished) -> _Tensors:
    """What is made of a tensor together; tensors as they lie where that counts, else in the order of the outputs."""
    tensors: dict[tuple[int, int], list[_Origin]] = {}
    for origin in _origins(plan):
        tensors.setdefault((origin.source_file, origin.offset), []).append(origin)
    for place in sorted(tensors) if plan.source.whole_windows else tensors:
        needs = [_needs(numberings[origin.file], origin, unfinished) for origin in tensors[place]]
        yield tuple(_closed(merge(*needs), most))


def _closed(needs: Iterable[_Need], most: int) -> Iterator[_Run]:
    """Runs that need no byte which another needs, but for scales if no run without such has less than `most` bytes."""
    shares: list[Share] = []
    held: tuple[FileRange, ...] = ()
    for need in needs:
        apart = [before.stop <= span.start for before, span in zip(held, need.spans, strict=False)]
        if shares and apart[0] and (all(apart) or _nbytes(held) >= most):
            yield shares, _nbytes(held)
            shares, held = [], ()
        shares.append(need.share)
        held = tuple(map(_hull, held, need.spans)) if held else need.spans
    if shares:
        yield shares, _nbytes(held)


def _hull(span: FileRange, other: FileRange) -> FileRange:
    return FileRange(span.file, min(span.start, other.start), max(span.stop, other.stop))


def _nbytes(spans: Iterable[FileRange]) -> int:
    return sum(span.nbytes for span in spans)


def _origins(plan: Planned) -> Iterator[_Origin]:
    for file_number, file in enumerate(plan.files):
        for number, tensor in enumerate(file.tensors):
            for source, stored in enumerate(tensor.sources):
                yield _Origin(stored.blobs[0].file, stored.blobs[0].offset, file_number, number, source)


def _needs(numbering: Numbering, origin: _Origin, unfinished: Unfinished) -> Iterator[_Need]:
    """The unfinished pieces of one source tensor, one by one."""
    tensor, how = numbering.file.tensors[origin.tensor], numbering.cuts[origin.tensor]
    output, source, start = tensor.output, tensor.sources[origin.source], numbering.tensor_start(origin.tensor)
    for nth in range(origin.source * how.per_source, (origin.source + 1) * how.per_source):
        place = Place(origin.tensor, nth)
        number = numbering.number(place)
        if unfinished(origin.file, number):
            share = Share(origin.file, start, number, output, source, (numbering.piece(place),))
            spans = tuple(share.ranges())
            yield _Need(spans[0], output.info.type, origin.file, number, spans, share)


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
