"""Every piece of a finished file made anew from its source, by what a conversion makes them by, and compared."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing

import msgspec
import numpy as np

from deepgguf.errors import UsageError, printable
from deepgguf.executors.buffers import Buffers
from deepgguf.executors.executor import Executor, Progress
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.planning.numbering import Numbering
from deepgguf.planning.schema import Plan
from deepgguf.planning.windows import Window, windows
from deepgguf.run.worker import Worker
from deepgguf.verification.each_once import Checked, each_once
from deepgguf.verification.file_bytes import FileBytes
from deepgguf.verification.report import Difference, Verification


class _Place(msgspec.Struct, frozen=True):
    """A tensor that is made anew: its number among these, its file, its first byte there, how many it has."""

    number: int
    file: int
    start: int
    nbytes: int


class _Remade(Checked, frozen=True, gc=False):
    """A piece that was made anew: the first byte of the file that is another, -1 if none is."""

    wrong: int


def check_choices(plan: Plan, headers: Sequence[GGUFHeader], given: Collection[str]) -> None:
    """UsageError if pieces cannot be made, because the importance matrix that they were made by is not `given`."""
    if "imatrix" not in given and any(tensor.importance for file in plan.files for tensor in file.tensors):
        found = f"{headers[0].path} was quantized by an importance matrix, and only the same one makes the same bytes"
        raise UsageError("`imatrix`", found, "give it")


def with_remade(
    report: Verification, plan: Plan, headers: Sequence[GGUFHeader], executor: Executor, progress: Progress
) -> Verification:
    """The report with the tensors that have other bytes than the plan makes.

    Tensors that the files do not have as planned (another type or shape) are not made; the report has them already.
    Raises CheckpointError for a source that changes or has faults, OutputError if something cannot be read.
    """
    began = time.monotonic()
    places = _places(plan, headers)
    first = _first_wrong_bytes(plan, headers, places, executor, progress)
    known = {difference.where.split(",")[0] for difference in report.differences}
    found = [_difference(name, at, places[name], headers) for name, at in first.items()]
    assert report.source is not None
    return msgspec.structs.replace(
        report,
        source=msgspec.structs.replace(report.source, remade=len(places)),
        differences=(*report.differences, *(one for one in found if one.where not in known)),
        seconds=report.seconds + time.monotonic() - began,
    )


def _first_wrong_bytes(
    plan: Plan, headers: Sequence[GGUFHeader], places: Mapping[str, "_Place"], executor: Executor, progress: Progress
) -> dict[str, int]:
    """By tensor, in the plan's order, the byte of its file that is the first to differ."""
    numberings = [Numbering(file, plan.piece_weights) for file in plan.files]

    def has_place(file: int, number: int) -> bool:
        return plan.files[file].tensors[numberings[file].place(number).tensor].info.name in places

    first: dict[int, int] = {}
    with ExitStack() as stack:
        stack.enter_context(plan.source)
        if plan.importance:
            stack.enter_context(plan.importance.files)
        worker = stack.enter_context(closing(Worker(plan, None)))
        remaker = _Remaker(worker, tuple(FileBytes(header.path) for header in headers), places, Buffers())
        sizes, tasks = [place.nbytes for place in places.values()], windows(plan, has_place)
        for piece in stack.enter_context(closing(each_once(executor, remaker.compare, tasks, sizes, progress))):
            if piece.wrong >= 0:
                first[piece.number] = min(piece.wrong, first.get(piece.number, piece.wrong))
        plan.source.check_unchanged(plan.sources)
    return {name: first[place.number] for name, place in places.items() if place.number in first}


def _places(plan: Plan, headers: Sequence[GGUFHeader]) -> dict[str, _Place]:
    found = {tensor.name: (number, tensor) for number, header in enumerate(headers) for tensor in header.tensors}
    places: dict[str, _Place] = {}
    for planned in (tensor.info for file in plan.files for tensor in file.tensors):
        file, tensor = found.get(planned.name, (0, None))
        if tensor and (tensor.type, tensor.shape) == (planned.type, planned.shape):
            start = headers[file].data_offset + tensor.offset
            places[planned.name] = _Place(len(places), file, start, tensor.nbytes)
    return places


def _difference(name: str, at: int, place: _Place, headers: Sequence[GGUFHeader]) -> Difference:
    path = printable(headers[place.file].path)
    text = f"byte {at - place.start:,} of its data, {at:,} of {path}, is not what the source makes"
    return Difference(f"tensor {printable(name)}", text)


class _Remaker(msgspec.Struct, frozen=True):
    """What making and comparing any window takes."""

    worker: Worker
    opened: tuple[FileBytes, ...]
    places: Mapping[str, _Place]
    buffers: Buffers

    def compare(self, window: Window) -> Iterator[_Remade]:
        """Every piece of the window against the file's bytes."""
        for share, _, piece, made in self.worker.pieces(window):
            place = self.places[share.output.info.name]
            found = self.buffers.take("found", piece.nbytes)
            self.opened[place.file].readinto(place.start + piece.offset, found)
            wrong = -1
            if not np.array_equal(found, made.out):
                wrong = place.start + piece.offset + int((found != made.out).argmax())
            yield _Remade(place.number, piece.offset, piece.nbytes, wrong)
