"""TQ2_0: 256 weights of three levels, two bits for each, with a scale (F16)."""

from deepgguf.encodings.bits import fields, half, integers, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Tq20(Quantized, frozen=True):
    """See ggml-common.h, block_tq2_0."""

    type = GGMLType.TQ2_0
    levels = integers(-1, 2)
    f16_scales = (64,)
    takes_importance = False
    level_before_rounding = True
    narrower = GGMLType.Q4_0
    largest_rms = 1.2  # measured: 0.81, of normal weights

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        return Groups(to_levels(fields(blocks[:, :64], 32, bits=2), -1)[:, None], half(blocks, 64))
