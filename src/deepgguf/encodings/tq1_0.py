"""TQ1_0: 256 weights of three levels, five to a byte, with a scale (F16)."""

import numpy as np

from deepgguf.encodings.bits import half, integers
from deepgguf.encodings.encoding import Bytes, Floats
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Tq10(Quantized, frozen=True):
    """See ggml-common.h, block_tq1_0."""

    type = GGMLType.TQ1_0
    levels = integers(-1, 1)
    f16_scales = (52,)
    takes_importance = False
    level_before_rounding = True
    narrower = GGMLType.Q4_0
    largest_rms = 1.2  # measured: 0.81, of normal weights

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        digits = [_fives(blocks[:, :32]), _fives(blocks[:, 32:48]), _fives(blocks[:, 48:52])[:, :16]]
        return Groups(np.concatenate(digits, axis=1)[:, None] - np.float32(1), half(blocks, 52))


def _fives(data: Bytes) -> Floats:
    """Five digits of every byte, which is their number in base 3 as a fraction: all first ones, all second ones, …"""
    powers = 3 ** np.arange(5, dtype=np.uint8)[:, None]
    shifted = (data[:, None].astype(np.uint16) * powers & 255) * 3 >> 8
    return shifted.reshape(len(data), -1).astype(np.float32)
