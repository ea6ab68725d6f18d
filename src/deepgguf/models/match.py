"""What a table promises against what the shards hold: every source tensor is used once or left out with a reason."""

import re
from collections.abc import Mapping

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.quantization import declared_quantization, drop_reason
from deepgguf.encodings import weight_of
from deepgguf.encodings.foreign import convert_the_original, tool_of
from deepgguf.encodings.opaque import Opaque
from deepgguf.errors import CheckpointError
from deepgguf.models import find_family
from deepgguf.models.family import AnyFamily
from deepgguf.models.table import Row
from deepgguf.tensors.source_tensor import SourceTensor

_CONFIG = "config.json"
_BIAS = re.compile(r"model\.layers\..*_proj(_with_mqa)?\.bias")  # attention_bias and mlp_bias of config.json


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
    _check_tool(checkpoint)
    return Model(family, config, _match(family, config, checkpoint.tensors))


def _check_tool(checkpoint: Checkpoint) -> None:
    """CheckpointError if config.json names a tool that deepgguf does not read, and hardly a weight has its usual name:
    such a checkpoint is complete, though everything that the table promises seems to be missing.
    """
    quantization = declared_quantization(checkpoint.config)
    tool, weights = tool_of(quantization), sum(name.endswith(".weight") for name in checkpoint.tensors)
    if tool and 2 * weights < len(checkpoint.tensors):
        found = f"its weights are quantized by {tool}, which deepgguf does not read"
        raise CheckpointError(_CONFIG, found, convert_the_original(quantization))


def _match(family: AnyFamily, model: object, tensors: Mapping[str, SourceTensor]) -> Matched:
    """Gives every row its sources. CheckpointError names what is missing, unknown, unreadable, or of a wrong shape."""
    rows = tuple((row, _sources(row, tensors)) for row in family.table(model, 0))
    used = {source.name for _, sources in rows for source in sources}
    return Matched(rows, _left_out(family, model, used, tensors))


def _sources(row: Row, tensors: Mapping[str, SourceTensor]) -> tuple[SourceTensor, ...]:
    sources = []
    for name in row.sources:
        found = tensors.get(name)
        if found is not None and isinstance(found.encoding, Opaque):
            found.encoding.refuse()
        if found is None or found.shape != row.shape:
            raise _unfit(name, row, found)
        sources.append(found)
    return tuple(sources)


def _unfit(name: str, row: Row, found: SourceTensor | None) -> CheckpointError:
    if found is None:
        advice = "download the missing shard, or compare config.json with the original"
        return CheckpointError(f"tensor {name}", "config.json promises it, but no shard holds it", advice)
    shapes = f"shape {list(found.shape)}, expected {list(row.shape)} by config.json"
    where = f"tensor {found.name_in_files}"
    return CheckpointError(where, shapes, "config.json and weights belong to different models")


def _left_out(family: AnyFamily, model: object, used: set[str], tensors: Mapping[str, SourceTensor]) -> dict[str, str]:
    """The reason for every tensor that is left out; CheckpointError if there is none for one."""
    reasons: dict[str, str] = {}
    unknown = []
    for name in tensors:
        if name not in used:
            reason = family.drop_reason(model, weight_of(name)) or drop_reason(name)
            if reason:
                reasons[name] = reason
            else:
                unknown.append(name)
    if unknown:
        first = tensors[unknown[0]].encoding
        if isinstance(first, Opaque) and weight_of(unknown[0]) != unknown[0]:
            first.refuse()  # scales without weights
        bias = next(filter(_BIAS.fullmatch, unknown), None)
        if bias:
            found = "is a bias, and the engines' language model has no tensor for it"
            raise CheckpointError(f"tensor {tensors[bias].name_in_files}", found, "no engine can run this model")
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        found = f"is unknown{more}: config.json does not promise it and there is no reason to drop it"
        where = f"tensor {tensors[unknown[0]].name_in_files}"
        raise CheckpointError(where, found, "the checkpoint is of a kind that deepgguf does not know")
    return reasons
