"""A line for each role of tensors, a place for each block, a shade for each number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from deepgguf.report.components import order_of, place_of
from deepgguf.report.facts import TensorFacts
from deepgguf.report.shades import bound_of_error, shade_of_bits, shade_of_error
from deepgguf.terminal.sizes import ranges

MOST_BLOCKS = 1000
MOST_LINES = 80


class Cell(NamedTuple):
    """A shade, and what it stands for in words: a type, a bound of errors."""

    shade: str
    words: str


class Run(msgspec.Struct, frozen=True):
    """Neighbors of one cell: from the `start`-th block on, `length` of them; `words` says which."""

    start: int
    length: int
    shade: str
    words: str


class Line(msgspec.Struct, frozen=True):
    """A role: its runs, the same in words, and the number of all its tensors together."""

    role: str
    runs: tuple[Run, ...]
    words: str
    total: str


class HeatMap(msgspec.Struct, frozen=True):
    """The lines over `blocks`, and how many of either were left out."""

    blocks: tuple[int, ...]
    lines: tuple[Line, ...]
    blocks_left_out: int = 0
    lines_left_out: int = 0


class _Measure(NamedTuple):
    """What is shown of the tensors of a place, and of all of a line."""

    cell: Callable[[Sequence[TensorFacts]], Cell]
    total: Callable[[Sequence[TensorFacts]], str]


def bits_map(tensors: Sequence[TensorFacts]) -> HeatMap:
    """Bits per weight."""
    return _map(tensors, _BITS)


def error_map(tensors: Sequence[TensorFacts]) -> HeatMap:
    """The largest relative error of each place, as far as it was measured."""
    return _map([tensor for tensor in tensors if tensor.error is not None], _ERRORS)


def bits(tensors: Sequence[TensorFacts]) -> float:
    """Bits per weight of all together; 0 if there are no weights."""
    weights = sum(tensor.weights for tensor in tensors)
    return sum(tensor.nbytes for tensor in tensors) * 8 / weights if weights else 0.0


def _map(tensors: Sequence[TensorFacts], measure: _Measure) -> HeatMap:
    roles: dict[tuple[str, str], dict[int, list[TensorFacts]]] = {}
    for tensor in tensors:
        component, role, block = place_of(tensor.name)
        if block is not None:
            roles.setdefault((component, role), {}).setdefault(block, []).append(tensor)
    every_block = sorted({block for by_block in roles.values() for block in by_block})
    blocks = tuple(every_block[:MOST_BLOCKS])
    ordered = sorted(roles.items(), key=lambda entry: order_of(entry[0][0]))  # stable: else in the file's order
    lines = tuple(_line(role, by_block, blocks, measure) for (_, role), by_block in ordered[:MOST_LINES])
    return HeatMap(blocks, lines, len(every_block) - len(blocks), len(ordered) - len(lines))


def _line(role: str, by_block: Mapping[int, Sequence[TensorFacts]], blocks: Sequence[int], measure: _Measure) -> Line:
    cells = [measure.cell(by_block[block]) if block in by_block else None for block in blocks]
    where: dict[str, list[int]] = {}
    for block, cell in zip(blocks, cells, strict=True):
        if cell:
            where.setdefault(cell.words, []).append(block)
    words = "; ".join(f"{what} in {ranges(found)}" for what, found in where.items())
    whole = [tensor for group in by_block.values() for tensor in group]
    return Line(role, tuple(_runs(cells, blocks)), words, measure.total(whole))


def _runs(cells: Sequence[Cell | None], blocks: Sequence[int]) -> Iterator[Run]:
    start = 0
    for cell, neighbors in groupby(cells):
        length = len(list(neighbors))
        if cell:
            yield Run(start, length, cell.shade, f"{cell.words} in {ranges(blocks[start : start + length])}")
        start += length


def _bits_cell(group: Sequence[TensorFacts]) -> Cell:
    return Cell(shade_of_bits(bits(group)), "+".join(sorted({tensor.type for tensor in group})))


def _error_cell(group: Sequence[TensorFacts]) -> Cell:
    return Cell(shade_of_error(_largest(group)), bound_of_error(_largest(group)))


def _largest(group: Sequence[TensorFacts]) -> float:
    return max(tensor.error or 0.0 for tensor in group)


_BITS = _Measure(_bits_cell, lambda group: f"{bits(group):.2f}")
_ERRORS = _Measure(_error_cell, lambda group: f"{_largest(group):.2%}")
