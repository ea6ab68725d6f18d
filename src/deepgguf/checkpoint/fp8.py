"""FP8 weights and their block scales: which belongs to which, and what a scale's bytes mean."""

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.checkpoint.shards import SourceTensor
from deepgguf.errors import CheckpointError, NonFiniteError

WEIGHT_DTYPE = "F8_E4M3"
SCALE_DTYPES = frozenset({"F32", "F16", "BF16", "F8_E8M0", "U8"})  # U8 holds E8M0, from writers that lack the type
_SUFFIXES = (".weight_scale_inv", ".weight_scale", ".weight.scale")


class Pairing(msgspec.Struct, frozen=True):
    """`scales`: for each FP8 weight the name of its scales; `block`: rows and columns that share one scale."""

    scales: dict[str, str]
    block: tuple[int, int]


def pair_scales(tensors: Mapping[str, SourceTensor], block: tuple[int, int] | None) -> Pairing:
    """Finds the scales of every F8_E4M3 weight, in whatever shard they lie.

    The scales of `X.weight` are `X.weight_scale_inv`, `X.weight_scale` or `X.weight.scale`, of shape
    [⌈rows / block rows⌉, ⌈columns / block columns⌉]: the last blocks are cut to the tensor's edge. `block` is
    `weight_block_size` of the config's `quantization_config`, or None. A checkpoint without FP8 has an empty pairing.

    Raises CheckpointError that names the tensors if scales are missing, stand there twice, belong to no FP8 weight or
    have the wrong shape or dtype, and if the block size is missing or not positive.
    """
    scales = _scales_by_weight(tensors)
    for name, tensor in tensors.items():
        if tensor.dtype == WEIGHT_DTYPE and name not in scales:
            raise CheckpointError(f"tensor {name}", f"FP8, but there is no {name}_scale_inv in any shard")
    if not scales:
        return Pairing({}, block or (1, 1))
    if block is None:
        weight = next(iter(scales))
        raise CheckpointError(f"tensor {weight}", "FP8, but config.json has no quantization_config.weight_block_size")
    if min(block) < 1:
        raise CheckpointError("config.json", f"weight_block_size {list(block)}, both must be at least 1")
    seen = set()
    for weight, scale in scales.items():
        kind = (tensors[weight].shape, tensors[scale].shape, tensors[scale].dtype)
        if kind not in seen:
            _check_shape(tensors[weight], tensors[scale], block)
            seen.add(kind)
    return Pairing(scales, block)


def _scales_by_weight(tensors: Mapping[str, SourceTensor]) -> dict[str, str]:
    scales: dict[str, str] = {}
    for name in tensors:
        if name.endswith(_SUFFIXES):
            weight = name[: name.rindex(".weight") + len(".weight")]
            if weight not in tensors or tensors[weight].dtype != WEIGHT_DTYPE:
                raise CheckpointError(f"tensor {name}", f"a scale, but there is no {WEIGHT_DTYPE} tensor {weight}")
            if weight in scales:
                raise CheckpointError(f"tensor {weight}", f"has scales twice, {scales[weight]} and {name}")
            scales[weight] = name
    return scales


def _check_shape(weight: SourceTensor, scale: SourceTensor, block: tuple[int, int]) -> None:
    if len(weight.shape) != 2:
        raise CheckpointError(f"tensor {weight.name}", f"FP8 of shape {list(weight.shape)}, expected two dimensions")
    expected = tuple(-(-n // b) for n, b in zip(weight.shape, block, strict=True))
    if scale.shape != expected:
        raise CheckpointError(
            f"tensor {scale.name}",
            f"shape {list(scale.shape)}, expected {list(expected)} for blocks of {list(block)} in {list(weight.shape)}",
        )
    if scale.dtype not in SCALE_DTYPES:
        raise CheckpointError(f"tensor {scale.name}", f"scales of dtype {scale.dtype}, expected F32, F16, BF16 or E8M0")


def scale_values(data: bytes | NDArray[np.uint8], dtype: str) -> NDArray[np.float32]:
    """Scales as float32, of shape [n], from their bytes (little-endian); exact, as float32 holds every other dtype.

    E8M0 (OCP Microscaling Formats, section 5.4.1) is a power of two, 2^(v − 127); 255 is NaN.
    """
    if dtype == "F32":
        return np.frombuffer(data, "<f4").astype(np.float32)
    if dtype == "F16":
        return np.frombuffer(data, "<f2").astype(np.float32)
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    bits = np.frombuffer(data, np.uint8).astype(np.uint32) << 23  # the exponent of a float32 has the same bias
    bits[bits == 0] = 1 << 22  # 2^-127 is a denormal float32
    bits[bits == 255 << 23] = 0x7FC00000
    return bits.view(np.float32)


def check_scales(values: NDArray[np.float32], where: str, first_row: int = 0) -> None:
    """Raises unless every scale is finite and positive, naming the first that is not by its block's row and column.

    `values` has shape [block rows, block columns], its first row being `first_row` of the tensor's. NonFiniteError for
    NaN and Inf, CheckpointError for zero and negative: no quantizer makes these, they are signs of damage.
    """
    good = (values > 0) & np.isfinite(values)
    if good.all():
        return
    row, column = (int(i) for i in np.argwhere(~good)[0])
    value = float(values[row, column])
    error = CheckpointError if np.isfinite(value) else NonFiniteError
    raise error(where, f"the scale of block [{first_row + row}, {column}] is {value}, expected a positive number")
