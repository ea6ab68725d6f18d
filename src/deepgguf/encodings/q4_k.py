"""Q4_K: 8 groups of 32 codes of four bits, with scales and minima of six bits and theirs (F16)."""

from deepgguf.encodings.bits import integers, nibbles, six_bit_scales, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q4K(Quantized, frozen=True):
    """See ggml-common.h, block_q4_k."""

    type = GGMLType.Q4_K
    levels = integers(0, 15)
    f16_scales = (0, 2)
    narrower = GGMLType.Q5_0
    largest_subscale = 63

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        step, offset = six_bit_scales(blocks)
        return Groups(to_levels(nibbles(blocks[:, 16:], 32).reshape(-1, 8, 32)), step, offset)
