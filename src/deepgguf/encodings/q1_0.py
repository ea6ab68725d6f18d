"""Q1_0: blocks of 128 signs with a scale (F16), the mean magnitude."""

import numpy as np

from deepgguf.encodings.bits import fields, half, to_levels
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q10(Quantized, frozen=True):
    """See ggml-common.h, block_q1_0."""

    type = GGMLType.Q1_0
    levels = np.array([-1, 1], np.float32)
    takes_importance = False
    level_before_rounding = True
    mean_as_step = True
    largest_rms = 1.01  # with its mean magnitude a block has no larger errors than with 0 as its scale

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels: −1 or 1."""
        return Groups(2 * to_levels(fields(blocks[:, 2:], 1, bits=1))[:, None] - 1, half(blocks, 0))
