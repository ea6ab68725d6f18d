"""IQ4_XS: 8 groups of 32 codes of four bits on a curve, with scales of six bits and theirs (F16)."""

import numpy as np

from deepgguf.encodings.bits import NONLINEAR, fields, half, nibbles
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Iq4Xs(Quantized, frozen=True):
    """See ggml-common.h, block_iq4_xs."""

    type = GGMLType.IQ4_XS
    levels = NONLINEAR
    narrower = GGMLType.IQ4_NL
    largest_subscale = 32
    level_before_rounding = True

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        low = fields(blocks[:, 4:8], 1, bits=4)
        high = fields(blocks[:, 2:4], 1, bits=2)
        step = half(blocks, 0) * ((low | high << 4).astype(np.float32) - 32)
        return Groups(NONLINEAR[nibbles(blocks[:, 8:], 16).reshape(-1, 8, 32)], step)
