"""Q4_0: blocks of 32 codes of four bits around zero, with a scale (F16)."""

from deepgguf.encodings.bits import half, integers, nibbles, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q40(Quantized, frozen=True):
    """See ggml-common.h, block_q4_0."""

    type = GGMLType.Q4_0
    levels = integers(-8, 7)
    level_before_rounding = True
    level_from_search = True

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        return Groups(to_levels(nibbles(blocks[:, 2:], 16), -8), half(blocks, 0))
