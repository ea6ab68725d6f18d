"""Q4_1: blocks of 32 codes of four bits, with a scale and a minimum (F16)."""

from deepgguf.encodings.bits import half, integers, nibbles, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q41(Quantized, frozen=True):
    """See ggml-common.h, block_q4_1."""

    type = GGMLType.Q4_1
    levels = integers(0, 15)
    f16_scales = (0, 2)
    level_before_rounding = True
    level_from_search = True

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        return Groups(to_levels(nibbles(blocks[:, 4:], 16)), half(blocks, 0), half(blocks, 2))
