"""A line for each role of tensors, a place for each block, a shade for each number."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from deepgguf.report.components import Place, order_of, place_of
from deepgguf.report.facts import TensorFacts
from deepgguf.report.shades import shade_of_bits, shade_of_error
from deepgguf.terminal.sizes import ranges

MOST_BLOCKS = 1000
MOST_LINES = 80

Cell = tuple[str, str]
"""A shade, and what it stands for in words: a type, an error."""


class Run(msgspec.Struct, frozen=True):
    """Neighbors of one shade: from the `start`-th block on, `length` of them."""

    start: int
    length: int
    shade: str


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


def bits_map(tensors: Sequence[TensorFacts]) -> HeatMap:
    """Bits per weight."""
    return _map(tensors, _bits_cell, lambda group: f"{bits(group):.2f}")


def error_map(tensors: Sequence[TensorFacts]) -> HeatMap:
    """The largest relative error of each place, as far as it was measured."""
    measured = [tensor for tensor in tensors if tensor.error is not None]
    return _map(measured, _error_cell, lambda group: f"{_largest(group):.2%}")


def bits(tensors: Sequence[TensorFacts]) -> float:
    """Bits per weight of all together; 0 if there are no weights."""
    weights = sum(tensor.weights for tensor in tensors)
    return sum(tensor.nbytes for tensor in tensors) * 8 / weights if weights else 0.0


def _map(
    tensors: Sequence[TensorFacts],
    cell: Callable[[Sequence[TensorFacts]], Cell],
    total: Callable[[Sequence[TensorFacts]], str],
) -> HeatMap:
    places: dict[Place, list[TensorFacts]] = {}
    for tensor in tensors:
        place = place_of(tensor.name)
        if place.block is not None:
            places.setdefault(place, []).append(tensor)
    every_block = sorted({place.block for place in places if place.block is not None})
    blocks = every_block[:MOST_BLOCKS]
    roles: dict[tuple[str, str], dict[int, list[TensorFacts]]] = {}
    for place, group in places.items():
        assert place.block is not None
        roles.setdefault((place.component, place.role), {})[place.block] = group
    ordered = sorted(roles.items(), key=lambda entry: order_of(entry[0][0]))  # stable: else in the file's order
    lines = tuple(_line(role, by_block, blocks, cell, total) for (_, role), by_block in ordered[:MOST_LINES])
    return HeatMap(tuple(blocks), lines, len(every_block) - len(blocks), max(0, len(ordered) - MOST_LINES))


def _line(
    role: str,
    by_block: Mapping[int, Sequence[TensorFacts]],
    blocks: Sequence[int],
    cell: Callable[[Sequence[TensorFacts]], Cell],
    total: Callable[[Sequence[TensorFacts]], str],
) -> Line:
    runs: list[Run] = []
    where: dict[str, list[int]] = {}
    for position, block in enumerate(blocks):
        if block not in by_block:
            continue
        shade, words = cell(by_block[block])
        where.setdefault(words, []).append(block)
        if runs and runs[-1].shade == shade and runs[-1].start + runs[-1].length == position:
            runs[-1] = msgspec.structs.replace(runs[-1], length=runs[-1].length + 1)
        else:
            runs.append(Run(position, 1, shade))
    words = "; ".join(f"{what} in {ranges(found)}" for what, found in where.items())
    return Line(role, tuple(runs), words, total([tensor for group in by_block.values() for tensor in group]))


def _bits_cell(group: Sequence[TensorFacts]) -> Cell:
    return shade_of_bits(bits(group)), "+".join(sorted({tensor.type for tensor in group}))


def _error_cell(group: Sequence[TensorFacts]) -> Cell:
    return shade_of_error(_largest(group)), f"{_largest(group):.2%}"


def _largest(group: Sequence[TensorFacts]) -> float:
    return max(tensor.error or 0.0 for tensor in group)
