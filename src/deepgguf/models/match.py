"""What a table promises against what the shards hold: every source tensor is used once or left out with a reason."""

from collections.abc import Mapping

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.diagnosis import missing_tensor, unknown_tensors
from deepgguf.encodings import weight_of
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError
from deepgguf.models import find_family
from deepgguf.models.family import AnyFamily
from deepgguf.models.table import Row
from deepgguf.tensors.source_tensor import SourceTensor

_CONFIG = "config.json"


class Matched(msgspec.Struct, frozen=True):
    """Every row of the table with its source tensors, by expert; what is left out, and why."""

    rows: tuple[tuple[Row, tuple[SourceTensor, ...]], ...]
    left_out: Mapping[str, str]


class Model(msgspec.Struct, frozen=True):
    """The family that a checkpoint belongs to, its typed config, and the source tensors of the family's table."""

    family: AnyFamily
    config: object
    matched: Matched


def read_model(checkpoint: Checkpoint) -> Model:
    """The model in `checkpoint`; CheckpointError if it is of an unknown family, or config and tensors do not agree."""
    family = find_family(checkpoint.config, _CONFIG)
    config = family.parse(checkpoint.config, _CONFIG)
    return Model(family, config, _match(family, config, checkpoint))


def _match(family: AnyFamily, model: object, checkpoint: Checkpoint) -> Matched:
    """Gives every row its sources. CheckpointError names what is missing, unknown, unreadable, or of a wrong shape."""
    rows = tuple((row, _sources(row, checkpoint)) for row in family.table(model, 0))
    used = {source.name for _, sources in rows for source in sources}
    return Matched(rows, _left_out(family, model, used, checkpoint))


def _sources(row: Row, checkpoint: Checkpoint) -> tuple[SourceTensor, ...]:
    sources, tensors = [], checkpoint.tensors
    for name in row.sources:
        found = tensors.get(name)
        if found is None:
            raise missing_tensor(name, checkpoint.seen)
        if found.shape != row.shape:
            raise _unfit(row, found)
        if isinstance(found.encoding, Opaque):
            found.encoding.refuse()
        sources.append(found)
    return tuple(sources)


def _unfit(row: Row, found: SourceTensor) -> CheckpointError:
    shapes = f"shape {list(found.shape)}, expected {list(row.shape)} by config.json"
    where = f"tensor {found.name_in_files}"
    return CheckpointError(where, shapes, "config.json and weights belong to different models")


def _left_out(family: AnyFamily, model: object, used: set[str], checkpoint: Checkpoint) -> dict[str, str]:
    """The reason for every tensor that is left out; CheckpointError if there is none for one."""
    reasons: dict[str, str] = {}
    unknown, tensors = [], checkpoint.tensors
    for name in tensors:
        if name not in used:
            reason = family.drop_reason(model, weight_of(name))
            if reason:
                reasons[name] = reason
            else:
                unknown.append(name)
    if unknown:
        first = tensors[unknown[0]].encoding
        if isinstance(first, Opaque) and weight_of(unknown[0]) != unknown[0]:
            first.refuse()  # scales without weights
        raise unknown_tensors(tensors[unknown[0]].name_in_files, len(unknown), checkpoint.seen)
    return reasons
