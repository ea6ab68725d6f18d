"""Q5_K: 8 groups of 32 codes of five bits, with scales and minima of six bits and theirs (F16)."""

from deepgguf.encodings.bits import fields, integers, nibbles, six_bit_scales, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q5K(Quantized, frozen=True):
    """See ggml-common.h, block_q5_k."""

    type = GGMLType.Q5_K
    levels = integers(0, 31)
    f16_scales = (0, 2)
    narrower = GGMLType.Q5_1
    largest_subscale = 63

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        step, offset = six_bit_scales(blocks)
        low = nibbles(blocks[:, 48:], 32).reshape(-1, 8, 32)
        high = fields(blocks[:, 16:48], 32, bits=1).reshape(-1, 8, 32)
        return Groups(to_levels(low | high << 4), step, offset)
