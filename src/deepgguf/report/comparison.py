"""How two models differ: sizes, types of tensors, errors, keys."""

from collections.abc import Mapping

import msgspec

from deepgguf.report.breakdown import blocks_of
from deepgguf.report.components import place_of
from deepgguf.report.facts import ReportFacts, TensorFacts

MOST_ROWS = 300


class Difference(msgspec.Struct, frozen=True):
    """Tensors of one role that have type `before` in the first model and `after` in the second; "" where they are not.

    The bytes are those in the first and in the second; so are the largest errors, None where none was measured.
    """

    role: str
    blocks: str
    tensors: int
    before: str
    after: str
    nbytes: tuple[int, int]
    errors: tuple[float | None, float | None]


class KeyDifference(msgspec.Struct, frozen=True):
    """A key with its values, None where there is no such key."""

    name: str
    before: str | None
    after: str | None


def tensor_differences(first: ReportFacts, second: ReportFacts) -> tuple[Difference, ...]:
    """By role and types, those that change most bytes first."""
    before, after = _by_name(first), _by_name(second)
    groups: dict[tuple[str, str, str], list[str]] = {}
    for name in before | after:
        types = _type(before.get(name)), _type(after.get(name))
        if types[0] != types[1]:
            groups.setdefault((place_of(name).role, *types), []).append(name)
    found = []
    for (role, old, new), names in groups.items():
        firsts, seconds = _those(before, names), _those(after, names)
        nbytes = sum(t.nbytes for t in firsts), sum(t.nbytes for t in seconds)
        errors = _largest(firsts), _largest(seconds)
        found.append(Difference(role, blocks_of(firsts or seconds), len(names), old, new, nbytes, errors))
    return tuple(sorted(found, key=lambda d: -abs(d.nbytes[1] - d.nbytes[0])))


def key_differences(first: ReportFacts, second: ReportFacts) -> tuple[KeyDifference, ...]:
    """Keys that only one has, or whose values differ as far as reports hold them (the beginning of a long one)."""
    before, after = dict(first.keys), dict(second.keys)
    names = [name for name in before | after if before.get(name) != after.get(name)]
    return tuple(KeyDifference(name, before.get(name), after.get(name)) for name in names)


def _by_name(facts: ReportFacts) -> dict[str, TensorFacts]:
    return {tensor.name: tensor for tensor in facts.tensors}


def _those(found: Mapping[str, TensorFacts], names: list[str]) -> list[TensorFacts]:
    return [found[name] for name in names if name in found]


def _type(tensor: TensorFacts | None) -> str:
    return tensor.type if tensor else ""


def _largest(tensors: list[TensorFacts]) -> float | None:
    return max((tensor.error for tensor in tensors if tensor.error is not None), default=None)
