"""Q6_K: 16 groups of 16 codes of six bits around zero, with scales of eight bits and theirs (F16)."""

import numpy as np

from deepgguf.encodings.bits import fields, half, integers, nibbles, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q6K(Quantized, frozen=True):
    """See ggml-common.h, block_q6_k."""

    type = GGMLType.Q6_K
    levels = integers(-32, 31)
    f16_scales = (208,)
    narrower = GGMLType.Q8_0
    largest_subscale = 128

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        low, high = nibbles(blocks[:, :128], 64), fields(blocks[:, 128:192], 32, bits=2)
        scales = blocks[:, 192:208].view(np.int8).astype(np.float32)
        codes = low.reshape(-1, 16, 16) | high.reshape(-1, 16, 16) << 4
        return Groups(to_levels(codes, -32), half(blocks, 208) * scales)
