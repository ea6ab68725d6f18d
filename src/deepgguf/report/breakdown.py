"""Where the bytes of a model go: its parts, with their places in a treemap; and from which types to which."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec

from deepgguf.report.components import order_of, place_of
from deepgguf.report.facts import TensorFacts
from deepgguf.report.heat_map import bits
from deepgguf.report.shades import shade_of_bits
from deepgguf.report.treemap import Box, squarified
from deepgguf.terminal.sizes import ranges

MOST_PARTS = 200
_WHOLE = Box(0, 0, 100, 50)  # twice as wide as high, as the page shows it

_K = TypeVar("_K")


class Part(msgspec.Struct, frozen=True):
    """All tensors of one role; `share` is of the bytes of all parts, `box` in hundredths of the width."""

    component: str
    role: str
    types: str
    tensors: int
    weights: int
    nbytes: int
    share: float
    bits: float
    shade: str
    box: Box


class Change(msgspec.Struct, frozen=True):
    """Tensors that were stored as `stored` and become `type`."""

    stored: str
    type: str
    tensors: int
    weights: int
    nbytes: int
    share: float


class Note(msgspec.Struct, frozen=True):
    """Tensors of one role that have another type than their recipe's, for one reason."""

    role: str
    blocks: str
    type: str
    reason: str


def parts_of(tensors: Sequence[TensorFacts]) -> tuple[Part, ...]:
    """The parts, those of a component together, the largest component first; beyond MOST_PARTS the smallest are left
    out.
    """
    components = _grouped(tensors, lambda tensor: place_of(tensor.name).component)
    ordered = sorted(components.items(), key=lambda entry: (-_nbytes(entry[1]), order_of(entry[0])))
    whole = max(1, _nbytes(tensors))
    boxes = squarified([max(1, _nbytes(group)) for _, group in ordered], _WHOLE)
    parts = [
        part for (name, group), box in zip(ordered, boxes, strict=True) for part in _parts(name, group, box, whole)
    ]
    return tuple(parts[:MOST_PARTS])


def changes_of(tensors: Sequence[TensorFacts]) -> tuple[Change, ...]:
    """From which types to which, the most bytes first."""
    whole = max(1, _nbytes(tensors))
    changes = [
        Change(stored, type, len(group), sum(t.weights for t in group), _nbytes(group), _nbytes(group) / whole)
        for (stored, type), group in _grouped(tensors, lambda tensor: (tensor.stored, tensor.type)).items()
    ]
    return tuple(sorted(changes, key=lambda change: -change.nbytes))


def notes_of(tensors: Sequence[TensorFacts]) -> tuple[Note, ...]:
    """What has another type than its recipe's, and why."""
    noted = [tensor for tensor in tensors if tensor.note]
    groups = _grouped(noted, lambda tensor: (place_of(tensor.name).role, tensor.type, tensor.note))
    return tuple(Note(role, blocks_of(group), type, note) for (role, type, note), group in groups.items())


def blocks_of(tensors: Iterable[TensorFacts]) -> str:
    """The numbers of their blocks."""
    return ranges(sorted({block for t in tensors if (block := place_of(t.name).block) is not None}))


def _parts(component: str, tensors: Sequence[TensorFacts], box: Box, whole: int) -> list[Part]:
    roles = sorted(
        _grouped(tensors, lambda tensor: place_of(tensor.name).role).items(), key=lambda entry: -_nbytes(entry[1])
    )
    boxes = squarified([max(1, _nbytes(group)) for _, group in roles], box)
    return [_part(component, role, group, whole, place) for (role, group), place in zip(roles, boxes, strict=True)]


def _part(component: str, role: str, group: Sequence[TensorFacts], whole: int, box: Box) -> Part:
    weights, nbytes = sum(tensor.weights for tensor in group), _nbytes(group)
    types, per_weight = ", ".join(sorted({tensor.type for tensor in group})), bits(group)
    shade = shade_of_bits(per_weight)
    return Part(component, role, types, len(group), weights, nbytes, nbytes / whole, per_weight, shade, box)


def _grouped(tensors: Iterable[TensorFacts], key: Callable[[TensorFacts], _K]) -> dict[_K, list[TensorFacts]]:
    groups: dict[_K, list[TensorFacts]] = {}
    for tensor in tensors:
        groups.setdefault(key(tensor), []).append(tensor)
    return groups


def _nbytes(tensors: Iterable[TensorFacts]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
