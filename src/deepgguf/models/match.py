"""What a table promises against what the shards hold: every source tensor is used once or left out with a reason."""

from collections.abc import Iterable, Mapping

import msgspec

from deepgguf.checkpoint.fp8 import WEIGHT_DTYPE, pair_scales
from deepgguf.checkpoint.shards import SourceTensor
from deepgguf.errors import CheckpointError
from deepgguf.models.config_schema import JsonObject, json_object, to_config
from deepgguf.models.family import AnyFamily
from deepgguf.models.table import Row

# Safetensors dtypes of weights that deepgguf can read.
WEIGHT_DTYPES = frozenset({"BF16", "F16", "F32", WEIGHT_DTYPE})
_SCALE_SUFFIXES = ("_scale_inv", "_scale", ".scale")


class Matched(msgspec.Struct, frozen=True):
    """Every row of the table with its source tensors, by expert; scales by weight; what is left out, and why.

    `block`: the rows and columns of an FP8 weight that share a scale.
    """

    rows: tuple[tuple[Row, tuple[SourceTensor, ...]], ...]
    scales: Mapping[str, SourceTensor]
    left_out: Mapping[str, str]
    block: tuple[int, int]


def match(family: AnyFamily, model: object, config: JsonObject, tensors: Mapping[str, SourceTensor]) -> Matched:
    """Gives every row its sources. CheckpointError names what is missing, unknown, or of a wrong shape."""
    block = _fp8_block(config)
    rows = tuple((row, _sources(row, tensors)) for row in family.table(model, 0))
    used = {source.name for _, sources in rows for source in sources}
    left_out = _left_out(family, model, used, tensors)
    kept = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    pairing = pair_scales(kept, block)
    _check_all_used(kept, used.union(pairing.scales.values()))
    scales = {weight: kept[scale] for weight, scale in pairing.scales.items()}
    return Matched(rows, scales, left_out, pairing.block)


def is_scale(name: str) -> bool:
    """Whether a tensor of this name holds another one's scales."""
    return name.endswith(_SCALE_SUFFIXES)


def _sources(row: Row, tensors: Mapping[str, SourceTensor]) -> tuple[SourceTensor, ...]:
    sources = []
    for name in row.sources:
        found = tensors.get(name)
        if found is None or found.shape != row.shape or found.dtype not in WEIGHT_DTYPES:
            raise _unfit(name, row, found)
        sources.append(found)
    return tuple(sources)


def _unfit(name: str, row: Row, found: SourceTensor | None) -> CheckpointError:
    where = f"tensor {name}"
    if found is None:
        advice = "download the missing shard, or compare config.json with the original"
        return CheckpointError(where, "config.json promises it, but no shard holds it", advice)
    if found.shape != row.shape:
        shapes = f"shape {list(found.shape)}, expected {list(row.shape)} by config.json"
        return CheckpointError(where, shapes, "config.json and weights belong to different models")
    dtypes = f"dtype {found.dtype}, expected one of {', '.join(sorted(WEIGHT_DTYPES))}"
    return CheckpointError(where, dtypes, "convert the original checkpoint")


def _left_out(family: AnyFamily, model: object, used: set[str], tensors: Mapping[str, SourceTensor]) -> dict[str, str]:
    """The reason for every tensor that is left out; a scale goes with its weight."""
    reasons = {}
    for name in tensors:
        if name not in used and (weight := _weight_of(name)) not in used:
            reason = family.drop_reason(model, weight)
            if reason:
                reasons[name] = reason
    return reasons


def _weight_of(name: str) -> str:
    for suffix in _SCALE_SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def _check_all_used(kept: Iterable[str], used: set[str]) -> None:
    unknown = [name for name in kept if name not in used]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        found = f"is unknown{more}: config.json does not promise it and there is no reason to drop it"
        raise CheckpointError(f"tensor {unknown[0]}", found, "the checkpoint is of a kind that deepgguf does not know")


class _Fp8Quantization(msgspec.Struct, frozen=True):
    quant_method: str
    weight_block_size: tuple[int, int] | None = None


def _fp8_block(config: JsonObject) -> tuple[int, int] | None:
    """`weight_block_size` of `quantization_config`, which may stand in a nested config; scales are checked with it."""
    where, language = "config.json", config.get("language_config")
    nested = language if isinstance(language, Mapping) and "quantization_config" in language else config
    if nested.get("quantization_config") is None:
        return None
    quantization = json_object(nested["quantization_config"], where, "quantization_config")
    found = to_config(quantization, {}, _Fp8Quantization, f"{where}: quantization_config")
    if found.quant_method != "fp8":
        method = f"quantization_config.quant_method is {found.quant_method!r}, expected 'fp8'"
        raise CheckpointError(where, method, "convert the original checkpoint, not a quantized copy")
    block = found.weight_block_size
    if block is not None and min(block) <= 0:
        sizes = f"quantization_config.weight_block_size is {list(block)}, expected two positive sizes"
        raise CheckpointError(where, sizes)
    return block
