"""FP4 with a power of two for every 32 weights of a row, in tensors of their own: MXFP4 before it is put into blocks.

compressed-tensors (mxfp4-pack-quantized) and DeepSeek-V4's experts store it alike, under other names.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from deepgguf import kernels
from deepgguf.encodings.bits import pairs_of_a_block
from deepgguf.encodings.e2m1_pairs import E2m1Pairs
from deepgguf.encodings.encoding import Bytes, Claim, Stored
from deepgguf.encodings.scaled import GROUP, POWER_SCALES, check_grid, check_matrix, part_of
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import TensorHeader

_NAN = 255  # of E8M0


class Fp4(E2m1Pairs, frozen=True):
    """E2M1 with E8M0 scales."""

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
        check_grid(beside[0], (weights.shape[0], 2 * weights.shape[1]), (1, GROUP))
        return cls((1, GROUP), beside[0].dtype, part_of(beside[0], weights))

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

    def repack(self, stored: Stored, out: Bytes) -> None:
        """As `packed`; errors as of `check_scales`: the engine would take a scale that is NaN for 2^127."""
        if stored.blobs[1].max(initial=0) == _NAN:
            self.checked_scales(stored)
        kernels.mxfp4(stored.blobs[0], stored.blobs[1], out)

    def packed(self, stored: Stored) -> Bytes:
        """ggml-common.h, block_mxfp4: the scale, then bytes of which each has column i low and column i + 16 high."""
        halves = pairs_of_a_block(stored.blobs[0].reshape(-1, GROUP // 2))
        return np.concatenate((stored.blobs[1][:, None], halves), axis=1).reshape(-1)
