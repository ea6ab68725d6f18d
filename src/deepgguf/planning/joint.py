"""Plans that are carried out together, so that what they have in common is read once, and decoded once."""

from collections.abc import Sequence

import msgspec

from deepgguf.checkpoint.importance import ImportanceFile
from deepgguf.errors import UsageError
from deepgguf.files.files import FileFacts, Files
from deepgguf.planning.schema import Plan, PlannedFile


class Joint(msgspec.Struct, frozen=True):
    """Plans of one source, each as it would be carried out alone; files are numbered through all of them."""

    plans: tuple[Plan, ...]

    @property
    def source(self) -> Files:
        """Where all of them read."""
        return self.plans[0].source

    @property
    def sources(self) -> tuple[FileFacts, ...]:
        """The files of `source` that hold weights, by number."""
        return self.plans[0].sources

    @property
    def files(self) -> tuple[PlannedFile, ...]:
        """The files of all plans."""
        return tuple(file for plan in self.plans for file in plan.files)

    @property
    def importances(self) -> tuple[ImportanceFile | None, ...]:
        """The importance matrix of every file."""
        return tuple(importance for plan in self.plans for importance in plan.importances)

    @property
    def piece_weights(self) -> int:
        """About how many weights a piece has."""
        return self.plans[0].piece_weights

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(plan.size for plan in self.plans)

    @property
    def reads_once(self) -> bool:
        """As `Plan.reads_once`; always so for more than one."""
        return len(self.plans) > 1 or self.plans[0].reads_once


Planned = Plan | Joint


def join(plans: Sequence[Plan]) -> Joint:
    """The plans together. UsageError if there is none, or if they are not of one source as it was at one time."""
    if not plans:
        raise UsageError("`plans`", "is empty", "give at least one")
    first = plans[0]
    for plan in plans:
        if plan.source.place != first.source.place:
            found = f"one reads {first.source.place}, another {plan.source.place}"
            raise UsageError("`plans`", found, "carry out plans of different sources one by one")
        if plan.sources != first.sources:
            raise UsageError(first.source.place, "has changed between the plans", "plan again")
        if plan.piece_weights != first.piece_weights:
            raise UsageError("`plans`", "must all have pieces of the same size", "plan again")
    return Joint(tuple(plans))
