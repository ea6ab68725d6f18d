"""Plans as commands have them: made at once, with the words of the command line in their warnings."""

import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from deepgguf.cli.flags import in_flags

if TYPE_CHECKING:
    from deepgguf.api.planned import Plan

_Made = TypeVar("_Made")


def one_planned(make: "Callable[[], Plan]") -> "Plan":
    """The plan that `make` makes."""
    return several_planned(lambda: (make(),))[0]


def several_planned(make: "Callable[[], Sequence[Plan]]") -> "tuple[Plan, ...]":
    """The plans that `make` makes."""
    import msgspec

    plans = _without_collecting(make)
    return tuple(msgspec.structs.replace(plan, warnings=tuple(map(in_flags, plan.warnings))) for plan in plans)


def _without_collecting(make: Callable[[], _Made]) -> _Made:
    """What `make` makes, whose garbage nobody looks for."""
    # A plan is a few hundred thousand objects that all live to the end: looking for garbage among them finds none, not
    # now and not when the process ends.
    gc.disable()
    try:
        made = make()
        gc.freeze()
        return made
    finally:
        gc.enable()
