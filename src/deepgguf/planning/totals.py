"""A plan in a few numbers, for comparing many."""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from deepgguf.formats.gguf.types import GGMLType
from deepgguf.planning.schema import Plan


class PlanTotals(msgspec.Struct, frozen=True):
    """Bytes of all files, bytes of their tensors, and weights by type."""

    size: int
    data: int
    weights: Mapping[GGMLType, int]

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensor data per weight."""
        return self.data * 8 / max(1, sum(self.weights.values()))


def totals(plan: Plan) -> PlanTotals:
    """The totals of `plan` over all its files."""
    weights: Counter[GGMLType] = Counter()
    data = 0
    for file in plan.files:
        for tensor in file.tensors:
            weights[tensor.info.type] += tensor.weights
            data += tensor.info.nbytes
    return PlanTotals(plan.size, data, dict(weights))


def work_of(plans: Iterable[Plan]) -> Mapping[GGMLType, int]:
    """Weights by type that carrying the plans out together makes: what two of them have alike is made once."""
    made: dict[tuple[object, ...], int] = {}
    for tensor in (tensor for plan in plans for file in plan.files for tensor in file.tensors):
        first, view = tensor.sources[0].blobs[0], tensor.view
        rows = view.start, view.stop, view.groups, view.transposed
        made[tensor.info.type, first.file, first.offset, *rows, view.cols] = tensor.weights
    weights: Counter[GGMLType] = Counter()
    for (type, *_), count in made.items():
        assert isinstance(type, GGMLType)
        weights[type] += count
    return dict(weights)
