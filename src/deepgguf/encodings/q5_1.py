"""Q5_1: blocks of 32 codes of five bits, with a scale and a minimum (F16)."""

from deepgguf.encodings.bits import fifth_bits, half, integers, nibbles, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q51(Quantized, frozen=True):
    """See ggml-common.h, block_q5_1."""

    type = GGMLType.Q5_1
    levels = integers(0, 31)
    f16_scales = (0, 2)
    level_before_rounding = True
    level_from_search = True

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        codes = nibbles(blocks[:, 8:], 16) | fifth_bits(blocks[:, 4:8])
        return Groups(to_levels(codes), half(blocks, 0), half(blocks, 2))
