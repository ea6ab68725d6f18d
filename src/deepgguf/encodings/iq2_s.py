"""IQ2_S: 16 groups of 16 weights; eight magnitudes are one of 1024 points, all their signs are stored."""

import numpy as np

from deepgguf.encodings.bits import fields, half
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.points import OF_TWO_BITS, OfPoints, points, signs_of, with_signs
from deepgguf.encodings.quantized import Groups
from deepgguf.formats.gguf.types import GGMLType


class Iq2S(OfPoints, frozen=True):
    """See ggml-common.h, block_iq2_s."""

    type = GGMLType.IQ2_S
    levels = with_signs(OF_TWO_BITS)
    needs_importance = True
    given_up = 1.5  # measured: 0.74
    largest_subscale = 4

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        indices = blocks[:, 2:34] | fields(blocks[:, 66:74], 1, bits=2).astype(np.uint16) << 8
        scales = fields(blocks[:, 74:82], 1, bits=4).astype(np.float32)
        step = half(blocks, 0) * (np.float32(0.5) + scales) * np.float32(0.25)
        levels = points(self.type, OF_TWO_BITS)[indices].reshape(-1, 256) * signs_of(blocks[:, 34:66])
        return Groups(levels.reshape(-1, 16, 16), step)
