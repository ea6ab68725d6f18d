"""IQ2_XXS: 8 groups of 32 weights; eight magnitudes are one of 256 points, seven signs of them are stored."""

import numpy as np

from deepgguf.encodings.bits import half
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.points import OF_TWO_BITS, OfPoints, points, seven_by_four, with_signs
from deepgguf.encodings.quantized import Groups
from deepgguf.formats.gguf.types import GGMLType


class Iq2Xxs(OfPoints, frozen=True):
    """See ggml-common.h, block_iq2_xxs."""

    type = GGMLType.IQ2_XXS
    levels = with_signs(OF_TWO_BITS)
    needs_importance = True
    impossible_without_importance = True
    given_up = 2.0  # measured: 1.30
    largest_subscale = 4

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        words = np.ascontiguousarray(blocks[:, 2:]).view("<u4").reshape(-1, 8, 2)
        indices = np.ascontiguousarray(words[:, :, 0]).view(np.uint8)
        step = half(blocks, 0) * (np.float32(0.5) + (words[:, :, 1] >> 28).astype(np.float32)) * np.float32(0.25)
        levels = points(self.type, OF_TWO_BITS)[indices].reshape(-1, 256) * seven_by_four(words[:, :, 1])
        return Groups(levels.reshape(-1, 8, 32), step)
