"""NVFP4: FP4 with an FP8 scale for every 16 weights of a row, and one more scale for the tensor.

modelopt stores the second scale, compressed-tensors (nvfp4-pack-quantized) its reciprocal.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from deepgguf.encodings.e2m1_pairs import E2m1Pairs
from deepgguf.encodings.encoding import Bytes, Claim, Counts, Floats, Range, Stored
from deepgguf.encodings.scaled import check_grid, check_matrix, check_scales, part_of
from deepgguf.errors import CheckpointError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import TensorHeader

_GROUP = 16
_BY_GROUP = ("F8_E4M3",)
_RECIPROCAL = "weight_global_scale"


class Nvfp4(E2m1Pairs, frozen=True):
    """E2M1; value = level × its group's scale × the tensor's.

    `second` is the name of the tensor's scale after the layer's.
    """

    dtype = "U8"
    claims = (
        Claim("weight_packed", ("U8",), ("weight_scale", _RECIPROCAL), {"weight_scale": _BY_GROUP}),
        Claim("weight", ("U8",), ("weight_scale", "weight_scale_2"), {"weight_scale": _BY_GROUP}),
    )
    kind = "NVFP4"
    scale_dtypes = _BY_GROUP
    zero_scales = True  # of groups that are small beside the tensor's largest weight

    second: str = "weight_scale_2"

    @classmethod
    def describe(
        cls, weights: TensorHeader, beside: Sequence[TensorHeader], quantization: Mapping[str, object]
    ) -> "Nvfp4":
        """CheckpointError unless there is a scale for every 16 weights, and one F32 for the tensor."""
        check_matrix(weights, cls.kind)
        check_grid(beside[0], (weights.shape[0], 2 * weights.shape[1]), (1, _GROUP))
        if len(beside) < 2:
            names = " or ".join(dict.fromkeys(claim.companions[1] for claim in cls.claims))
            raise CheckpointError(f"tensor {weights.name}", f"NVFP4, but its layer has no {names} in any shard")
        second = beside[1]
        if second.dtype != "F32" or prod(second.shape) != 1:
            found = f"{second.dtype} of shape {list(second.shape)}, expected one F32"
            raise CheckpointError(f"tensor {second.name}", found)
        return cls((1, _GROUP), beside[0].dtype, part_of(beside[0], weights), part_of(second, weights))

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The rows' codes, their scales, the tensor's scale."""
        return *super().ranges(cols, first, rows), Range(0, 4)

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """All three multiplied, rounded once; errors as of `check_scales`."""
        where = f"tensor {stored.tensor.removesuffix('weight')}{self.second}"
        check_scales(stored.blobs[2].view("<f4").reshape(1, 1), where)
        return super().decode(stored, type, out)

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Level × scale, which is exact, × the tensor's scale, rounded to float32."""
        values, second = super().values(stored, buffers), stored.blobs[2].view("<f4")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            values *= np.float32(1) / second if self.second == _RECIPROCAL else second
        return values
