"""NVFP4 in GGUF files: 4 groups of 16 FP4 (E2M1), each with a scale (E4M3 without a sign)."""

import numpy as np

from deepgguf.encodings.bits import E2M1_HALVES, E4M3, fields
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType

# What ggml makes of every byte (ggml-impl.h, ggml_ue4m3_to_fp32): the sign is ignored, and NaN is 0 without one.
_SCALES = np.abs(E4M3)
_SCALES[[0x7F, 0xFF]] = 0, 480


class Nvfp4Blocks(Quantized, frozen=True):
    """See ggml-common.h, block_nvfp4."""

    type = GGMLType.NVFP4
    levels = np.unique(E2M1_HALVES)
    f16_scales = ()
    takes_importance = False
    largest_lost = 6 * 2.0**-10

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        codes = fields(blocks[:, 4:], 8, bits=4).reshape(-1, 4, 16)
        return Groups(E2M1_HALVES[codes], _SCALES[blocks[:, :4]] * np.float32(0.5))
