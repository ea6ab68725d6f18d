"""Q3_K: 16 groups of 16 codes of three bits around zero, with scales of six bits and theirs (F16)."""

import numpy as np

from deepgguf.encodings.bits import fields, half, integers, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q3K(Quantized, frozen=True):
    """See ggml-common.h, block_q3_k."""

    type = GGMLType.Q3_K
    levels = integers(-4, 3)
    f16_scales = (108,)
    narrower = GGMLType.Q4_0
    largest_subscale = 32

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        high = fields(blocks[:, :32], 32, bits=1).reshape(-1, 16, 16)
        low = fields(blocks[:, 32:96], 32, bits=2).reshape(-1, 16, 16)
        packed = blocks[:, 96:108]
        scales = fields(packed[:, :8], 8, bits=4) | fields(packed[:, 8:], 4, bits=2) << 4
        step = half(blocks, 108) * (scales.astype(np.float32) - 32)
        return Groups(to_levels(low | high << 2, -4), step)
