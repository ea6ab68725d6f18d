"""What the config promises against what the shards hold: every source tensor is used once or dropped with a reason."""

from collections.abc import Mapping

import msgspec

from deepgguf.architectures.architecture import Architecture, Model
from deepgguf.architectures.tensors import ExpectedTensor, Role
from deepgguf.checkpoint.fp8 import WEIGHT_DTYPE, pair_scales
from deepgguf.checkpoint.shards import SourceTensor
from deepgguf.errors import CheckpointError
from deepgguf.planning.schema import Dropped, Part

# Safetensors dtypes of weights that deepgguf can read.
WEIGHT_DTYPES = frozenset({"BF16", "F16", "F32", WEIGHT_DTYPE})
_SCALE_SUFFIXES = ("_scale_inv", "_scale", ".scale")


class Matched(msgspec.Struct, frozen=True):
    """The checkpoint's tensors by role, and what is left out."""

    expected: tuple[ExpectedTensor, ...]
    parts: dict[Role, Part]
    dropped: tuple[Dropped, ...]
    block: tuple[int, int]
    scales_paired: int


def match(architecture: Architecture, model: Model, tensors: Mapping[str, SourceTensor]) -> Matched:
    """Gives every promised tensor its source. CheckpointError names what is missing, unknown, or of a wrong shape."""
    expected: list[ExpectedTensor] = []
    for tensor in architecture.tensors(model):
        _check(tensor, tensors)
        expected.append(tensor)
    names = {tensor.name for tensor in expected}
    reasons = _left_out(architecture, model, names, tensors)
    kept = {name: tensor for name, tensor in tensors.items() if name not in reasons}
    pairing = pair_scales(kept, model.language.fp8_block)
    _check_all_used(kept, names, pairing.scales)
    scales = pairing.scales
    parts = {t.role: Part(kept[t.name], kept[scales[t.name]] if t.name in scales else None) for t in expected}
    return Matched(tuple(expected), parts, _summary(reasons, tensors), pairing.block, len(scales))


def _check(expected: ExpectedTensor, tensors: Mapping[str, SourceTensor]) -> None:
    found = tensors.get(expected.name)
    if found is None:
        advice = "download the missing shard, or compare config.json with the original"
        raise CheckpointError(f"tensor {expected.name}", "config.json promises it, but no shard holds it", advice)
    if found.shape != expected.shape:
        shapes = f"shape {list(found.shape)}, expected {list(expected.shape)} by config.json"
        raise CheckpointError(f"tensor {expected.name}", shapes, "config.json and weights belong to different models")
    if found.dtype not in WEIGHT_DTYPES:
        dtypes = f"dtype {found.dtype}, expected one of {', '.join(sorted(WEIGHT_DTYPES))}"
        raise CheckpointError(f"tensor {expected.name}", dtypes, "convert the original checkpoint")


def _left_out(
    architecture: Architecture, model: Model, names: set[str], tensors: Mapping[str, SourceTensor]
) -> dict[str, str]:
    """The reason for every tensor that is dropped; a scale goes with its weight."""
    reasons = {}
    for name in tensors:
        if name not in names and (weight := _weight_of(name)) not in names:
            reason = architecture.drop_reason(model, weight)
            if reason:
                reasons[name] = reason
    return reasons


def _weight_of(name: str) -> str:
    if not name.endswith(_SCALE_SUFFIXES):
        return name
    return next(name.removesuffix(s) for s in _SCALE_SUFFIXES if name.endswith(s))


def _check_all_used(kept: Mapping[str, SourceTensor], names: set[str], scales: Mapping[str, str]) -> None:
    used = names.union(scales.values())
    unknown = [name for name in kept if name not in used]
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
    scales = sum(_weight_of(t.name) != t.name for t in left_out)
    return Dropped(reason, len(left_out) - scales, scales, sum(t.nbytes for t in left_out), left_out[0].name)
