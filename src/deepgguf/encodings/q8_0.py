"""Q8_0: blocks of 32 codes of eight bits, with a scale (F16)."""

import numpy as np

from deepgguf.encodings.bits import half, integers
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Q80(Quantized, frozen=True):
    """See ggml-common.h, block_q8_0."""

    type = GGMLType.Q8_0
    levels = integers(-127, 127)
    takes_importance = False
    largest = float("inf")  # its scale is a quotient, which shows what is too large
    level_before_rounding = True

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        return Groups(blocks[:, None, 2:].view(np.int8).astype(np.float32), half(blocks, 0))
