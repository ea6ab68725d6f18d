"""FP4 with a power of two for every 32 weights of a row, in tensors of their own: MXFP4 before it is put into blocks.

compressed-tensors (mxfp4-pack-quantized) and DeepSeek-V4's experts store it alike, under other names.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from deepgguf import kernels
from deepgguf.encodings.bits import E2M1, nibble_pairs
from deepgguf.encodings.encoding import Bytes, Claim, Floats, Stored
from deepgguf.encodings.scaled import POWER_SCALES, Scaled, check_grid, check_matrix, part_of
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import TensorHeader

_GROUP = 32
_NAN = 255  # of E8M0


class Fp4(Scaled, frozen=True):
    """E2M1, two to a byte, the even column's in the lower half; E8M0 scales."""

    dtype = "U8"
    claims = (
        Claim("weight_packed", ("U8",), ("weight_scale",), {"weight_scale": POWER_SCALES}),
        Claim("weight", ("I8", "U8"), ("scale",), {"scale": POWER_SCALES}),
    )
    kind = "FP4"
    scale_dtypes = POWER_SCALES

    @classmethod
    def describe(
        cls, weights: TensorHeader, beside: Sequence[TensorHeader], quantization: Mapping[str, object]
    ) -> "Fp4":
        """CheckpointError unless there is a scale for every 32 weights."""
        check_matrix(weights, cls.kind)
        check_grid(beside[0], (weights.shape[0], 2 * weights.shape[1]), (1, _GROUP))
        return cls((1, _GROUP), beside[0].dtype, part_of(beside[0], weights))

    @property
    def packs_as(self) -> GGMLType:
        """MXFP4."""
        return GGMLType.MXFP4

    @property
    def always_packs(self) -> bool:
        """Yes: the blocks are the same but for their order."""
        return True

    @property
    def exact_plain(self) -> GGMLType:
        """BF16: one bit of mantissa times a power of two."""
        return GGMLType.BF16

    def logical_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Two weights to a byte."""
        return stored[0], 2 * stored[1]

    def row_bytes(self, cols: int) -> int:
        """Half a byte for each."""
        return cols // 2

    def levels(self, stored: Stored, buffers: Buffers) -> Floats:
        """The numbers of E2M1."""
        return nibble_pairs(stored.blobs[0].reshape(stored.rows, -1), E2M1)

    def repack(self, stored: Stored, out: Bytes) -> None:
        """As `packed`; errors as of `check_scales`: the engine would take a scale that is NaN for 2^127."""
        if stored.blobs[1].max(initial=0) == _NAN:
            self.checked_scales(stored)
        kernels.mxfp4(stored.blobs[0], stored.blobs[1], out)

    def packed(self, stored: Stored) -> Bytes:
        """ggml-common.h, block_mxfp4: the scale, then bytes of which each has column i low and column i + 16 high."""
        pairs = stored.blobs[0].reshape(-1, _GROUP // 2)
        codes = np.stack((pairs & 15, pairs >> 4), axis=2).reshape(-1, _GROUP)
        halves = codes[:, : _GROUP // 2] | codes[:, _GROUP // 2 :] << 4
        return np.concatenate((stored.blobs[1][:, None], halves), axis=1).reshape(-1)
