"""What the config promises against what the shards hold: every source tensor is used once or dropped with a reason."""

from collections.abc import Mapping

import msgspec

from deepgguf.architectures.architecture import Architecture, Model
from deepgguf.architectures.tensors import ExpectedTensor, Role
from deepgguf.encodings import weight_of
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError
from deepgguf.planning.schema import Dropped
from deepgguf.tensors.source_tensor import SourceTensor


class Matched(msgspec.Struct, frozen=True):
    """The checkpoint's tensors by role, and what is left out."""

    expected: tuple[ExpectedTensor, ...]
    sources: dict[Role, SourceTensor]
    dropped: tuple[Dropped, ...]


def match(architecture: Architecture, model: Model, tensors: Mapping[str, SourceTensor]) -> Matched:
    """Gives every promised tensor its source. CheckpointError names what is missing, unknown, or of a wrong shape."""
    expected: list[ExpectedTensor] = []
    for tensor in architecture.tensors(model):
        _check(tensor, tensors)
        expected.append(tensor)
    names = {tensor.name for tensor in expected}
    reasons = _left_out(architecture, model, names, tensors)
    _check_all_used(names, reasons, tensors)
    return Matched(tuple(expected), {t.role: tensors[t.name] for t in expected}, _summary(reasons, tensors))


def _check(expected: ExpectedTensor, tensors: Mapping[str, SourceTensor]) -> None:
    found = tensors.get(expected.name)
    if found is None:
        advice = "download the missing shard, or compare config.json with the original"
        raise CheckpointError(f"tensor {expected.name}", "config.json promises it, but no shard holds it", advice)
    if found.shape != expected.shape:
        shapes = f"shape {list(found.shape)}, expected {list(expected.shape)} by config.json"
        raise CheckpointError(f"tensor {expected.name}", shapes, "config.json and weights belong to different models")
    if isinstance(found.encoding, Opaque):
        found.encoding.refuse()


def _left_out(
    architecture: Architecture, model: Model, names: set[str], tensors: Mapping[str, SourceTensor]
) -> dict[str, str]:
    """The reason for every tensor that is dropped; a scale goes with its weight."""
    reasons = {}
    for name in tensors:
        if name not in names and (weight := weight_of(name)) not in names:
            reason = architecture.drop_reason(model, weight)
            if reason:
                reasons[name] = reason
    return reasons


def _check_all_used(names: set[str], reasons: Mapping[str, str], tensors: Mapping[str, SourceTensor]) -> None:
    unknown = [name for name in tensors if name not in names and name not in reasons]
    for name in unknown:
        encoding = tensors[name].encoding
        if isinstance(encoding, Opaque) and weight_of(name) != name:
            encoding.refuse()
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        found = f"is unknown{more}: config.json does not promise it and there is no reason to drop it"
        raise CheckpointError(f"tensor {unknown[0]}", found, "the checkpoint is of a kind that deepgguf does not know")


def _summary(reasons: Mapping[str, str], tensors: Mapping[str, SourceTensor]) -> tuple[Dropped, ...]:
    by_reason: dict[str, list[SourceTensor]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(tensors[name])
    return tuple(_dropped(reason, left_out) for reason, left_out in sorted(by_reason.items()))


def _dropped(reason: str, left_out: list[SourceTensor]) -> Dropped:
    orphans = sum(weight_of(t.name) != t.name for t in left_out)
    scales = orphans + sum(len(t.blobs) - 1 for t in left_out)
    return Dropped(reason, len(left_out) - orphans, scales, sum(t.nbytes for t in left_out), left_out[0].name)
