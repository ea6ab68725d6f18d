"""IQ3_XXS: 8 groups of 32 weights; four magnitudes are one of 256 points, seven of eight signs are stored."""

import numpy as np

from deepgguf.encodings.bits import half
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.points import OfPoints, points, seven_by_four, with_signs
from deepgguf.encodings.quantized import Groups
from deepgguf.formats.gguf.types import GGMLType

_MAGNITUDES = (4, 12, 20, 28, 36, 44, 52, 62)  # ggml-common.h, iq3xxs_grid


class Iq3Xxs(OfPoints, frozen=True):
    """See ggml-common.h, block_iq3_xxs."""

    type = GGMLType.IQ3_XXS
    levels = with_signs(_MAGNITUDES)
    needs_importance = True
    given_up = 2.0  # measured: 1.10
    largest_subscale = 8

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        words = np.ascontiguousarray(blocks[:, 66:98]).view("<u4")
        step = half(blocks, 0) * (np.float32(0.5) + (words >> 28).astype(np.float32)) * np.float32(0.5)
        levels = points(self.type, _MAGNITUDES)[blocks[:, 2:66]].reshape(-1, 256) * seven_by_four(words)
        return Groups(levels.reshape(-1, 8, 32), step)
