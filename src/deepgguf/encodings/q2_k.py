"""Q2_K: 16 groups of 16 codes of two bits, with scales and minima of four bits and theirs (F16)."""

import numpy as np

from deepgguf.encodings.bits import fields, half, integers, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q2K(Quantized, frozen=True):
    """See ggml-common.h, block_q2_k."""

    type = GGMLType.Q2_K
    levels = integers(0, 3)
    f16_scales = (80, 82)
    narrower = GGMLType.Q4_0
    largest_subscale = 15
    given_up = 0.8  # measured: 0.58

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        scales = blocks[:, :16]
        codes = fields(blocks[:, 16:80], 32, bits=2)
        step = half(blocks, 80) * (scales & 15).astype(np.float32)
        offset = half(blocks, 82) * (scales >> 4).astype(np.float32)
        return Groups(to_levels(codes.reshape(-1, 16, 16)), step, -offset)
