"""Types for a budget of bytes: least error first.

Every tensor has candidates, each with its bytes and its error; one of each is to be taken, so that the bytes fit and
the sum of the errors is small (a knapsack with classes). What a byte more saves is largest along the lower hull of each
tensor's candidates, so steps along these are taken in the order of what they save per byte; what is left of the budget
goes to whatever single change saves most. The sum exceeds the least possible by no more than one step saves.

Errors are counted in two ways. `error` is noise to signal, every tensor alike: this is to be small. `squares` is the
sum of squares over all weights, in which the largest tensors outweigh all others; it only has to be no larger than that
of a mixture that could be taken instead.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from deepgguf.formats.gguf.types import GGMLType


class Candidate(NamedTuple):
    """A type that a tensor may get: its bytes in the file, and its error in both ways."""

    type: GGMLType
    nbytes: int
    error: float
    squares: float = 0.0


Choice = Mapping[str, Candidate]
"""What every tensor gets, by its name."""


_WEIGHTS = (0.0, *(2.0**power for power in range(-6, 7)))
"""Of the squares beside the errors, where those of the best mixture are as much as its error."""


class _Step(NamedTuple):
    """From one candidate of a tensor to the next along its hull."""

    saved: float
    tensor: int
    to: Candidate
    nbytes: int


def error_of(choice: Choice) -> float:
    """The sum of the errors."""
    return sum(candidate.error for candidate in choice.values())


def squares_of(choice: Choice) -> float:
    """The sum of the squares."""
    return sum(candidate.squares for candidate in choice.values())


def bytes_of(choice: Choice) -> int:
    """The sum of the bytes."""
    return sum(candidate.nbytes for candidate in choice.values())


def smallest(candidates: Mapping[str, Sequence[Candidate]]) -> Choice:
    """The candidate with the fewest bytes of every tensor, the better of two with as many."""
    return {name: hull(found)[0] for name, found in candidates.items()}


def choose_within(candidates: Mapping[str, Sequence[Candidate]], budget: int, others: Sequence[Choice] = ()) -> Choice:
    """One candidate of every tensor, of together at most `budget` bytes; the same for the same arguments.

    Never of a larger error than any of `others` that fits (mixtures that could be taken instead), nor of larger squares
    if there is such a choice along the way from the one measure to the other. ValueError if even the smallest do not
    fit.
    """
    if bytes_of(smallest(candidates)) > budget:
        raise ValueError(f"the smallest types have more than {budget} bytes")
    fitting = [other for other in others if bytes_of(other) <= budget]
    least = _least(candidates, budget, fitting, 0.0)
    if not fitting:
        return least
    error, squares = min(map(error_of, fitting)), min(map(squares_of, fitting))
    for weight in _WEIGHTS if squares else ():
        choice = _least(candidates, budget, fitting, weight * error / squares)
        if error_of(choice) <= error and squares_of(choice) <= squares:
            return choice
    return least


def hull(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates on the lower convex hull of error over bytes, by rising bytes: each saves less per byte."""
    kept: list[Candidate] = []
    for one in sorted(candidates, key=lambda c: (c.nbytes, c.error, c.type)):
        if kept and one.error >= kept[-1].error:
            continue
        while len(kept) > 1 and _saved(kept[-2], kept[-1]) <= _saved(kept[-1], one):
            kept.pop()
        kept.append(one)
    return kept


def _least(
    candidates: Mapping[str, Sequence[Candidate]], budget: int, others: Sequence[Choice], weight: float
) -> Choice:
    """A choice of the least errors and `weight` times squares, no worse than the others."""

    def priced(one: Candidate) -> Candidate:
        return one._replace(error=one.error + weight * one.squares)

    prices = {name: [priced(one) for one in found] for name, found in candidates.items()}
    starts = [_by_hulls(prices, budget), *({name: priced(one) for name, one in other.items()} for other in others)]
    taken = _with_the_rest(prices, min(starts, key=error_of), budget)
    return {name: found[prices[name].index(taken[name])] for name, found in candidates.items()}


def _by_hulls(candidates: Mapping[str, Sequence[Candidate]], budget: int) -> Choice:
    hulls = [hull(found) for found in candidates.values()]
    taken = [points[0] for points in hulls]
    steps = [
        _Step(_saved(before, to), tensor, to, to.nbytes - before.nbytes)
        for tensor, points in enumerate(hulls)
        for before, to in pairwise(points)
    ]
    left = budget - sum(candidate.nbytes for candidate in taken)
    ended: set[int] = set()  # tensors whose next step does not fit: the ones after it start from there
    for step in sorted(steps, key=lambda step: (-step.saved, step.tensor, step.to.nbytes)):
        if step.tensor in ended or step.nbytes > left:
            ended.add(step.tensor)
            continue
        taken[step.tensor] = step.to
        left -= step.nbytes
    return dict(zip(candidates, taken, strict=True))


def _with_the_rest(candidates: Mapping[str, Sequence[Candidate]], choice: Choice, budget: int) -> Choice:
    """The choice with what is left of the budget spent on the changes that save most, one after the other."""
    taken, left = dict(choice), budget - bytes_of(choice)
    while True:
        gain, best, name = 0.0, None, ""
        for each, found in candidates.items():
            now = taken[each]
            for one in found:
                if one.nbytes - now.nbytes <= left and now.error - one.error > gain:
                    gain, best, name = now.error - one.error, one, each
        if best is None:
            return taken
        left -= best.nbytes - taken[name].nbytes
        taken[name] = best


def _saved(before: Candidate, after: Candidate) -> float:
    """Error that is saved by each byte more."""
    return (before.error - after.error) / (after.nbytes - before.nbytes)
