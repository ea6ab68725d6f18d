"""Q2_0: blocks of 64 weights of two bits around zero, with a scale (F16)."""

from deepgguf.encodings.bits import fields, half, integers, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q20(Quantized, frozen=True):
    """See ggml-common.h, block_q2_0."""

    type = GGMLType.Q2_0
    levels = integers(-1, 2)
    takes_importance = False
    level_before_rounding = True
    narrower = GGMLType.Q4_0
    largest_rms = 1.1  # measured: 0.72, of normal weights

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        return Groups(to_levels(fields(blocks[:, 2:], 1, bits=2), -1)[:, None], half(blocks, 0))
