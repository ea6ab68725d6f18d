"""Q5_0: blocks of 32 codes of five bits around zero, with a scale (F16)."""

from deepgguf.encodings.bits import fifth_bits, half, integers, nibbles, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q50(Quantized, frozen=True):
    """See ggml-common.h, block_q5_0."""

    type = GGMLType.Q5_0
    levels = integers(-16, 15)
    level_before_rounding = True
    level_from_search = True

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        codes = nibbles(blocks[:, 6:], 16) | fifth_bits(blocks[:, 2:6])
        return Groups(to_levels(codes, -16), half(blocks, 0))
