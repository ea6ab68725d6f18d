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

_REST = ("other", "all others")

_K = TypeVar("_K")
_V = TypeVar("_V")
_Role = tuple[tuple[str, str], Sequence[TensorFacts]]


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
    """The parts, those of a component together, the largest component first. Beyond MOST_PARTS the smallest are one."""
    groups = _grouped(tensors, lambda tensor: place_of(tensor.name)[:2])
    roles = sorted(groups.items(), key=lambda entry: -_nbytes(entry[1]))
    rest = [tensor for _, group in roles[MOST_PARTS:] for tensor in group]
    roles = roles[:MOST_PARTS] + ([(_REST, rest)] if rest else [])
    components = _grouped(roles, lambda entry: entry[0][0])
    ordered = sorted(components.items(), key=lambda entry: (-_all_bytes(entry[1]), order_of(entry[0])))
    boxes = squarified([_all_bytes(found) for _, found in ordered], _WHOLE)
    whole = max(1, _nbytes(tensors))
    return tuple(part for (_, found), box in zip(ordered, boxes, strict=True) for part in _parts(found, box, whole))


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


def _parts(roles: Sequence[_Role], box: Box, whole: int) -> list[Part]:
    boxes = squarified([max(1, _nbytes(group)) for _, group in roles], box)
    return [_part(*names, group, whole, place) for (names, group), place in zip(roles, boxes, strict=True)]


def _part(component: str, role: str, group: Sequence[TensorFacts], whole: int, box: Box) -> Part:
    weights, nbytes = sum(tensor.weights for tensor in group), _nbytes(group)
    types, per_weight = ", ".join(sorted({tensor.type for tensor in group})), bits(group)
    shade = shade_of_bits(per_weight)
    return Part(component, role, types, len(group), weights, nbytes, nbytes / whole, per_weight, shade, box)


def _grouped(things: Iterable[_V], key: Callable[[_V], _K]) -> dict[_K, list[_V]]:
    groups: dict[_K, list[_V]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return groups


def _nbytes(tensors: Iterable[TensorFacts]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _all_bytes(roles: Sequence[_Role]) -> int:
    """Of all roles; a tensor without bytes has a place too."""
    return sum(max(1, _nbytes(group)) for _, group in roles)
