"""IQ1_S: 8 groups of 32 weights; eight levels are one of 2048 points, shifted by 1/8 up or down."""

import numpy as np

from deepgguf.encodings.bits import half
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.points import AROUND_ZERO, OfPoints, points, shifted
from deepgguf.encodings.quantized import Groups
from deepgguf.formats.gguf.types import GGMLType


class Iq1S(OfPoints, frozen=True):
    """See ggml-common.h, block_iq1_s."""

    type = GGMLType.IQ1_S
    levels = shifted(AROUND_ZERO)
    needs_importance = True
    impossible_without_importance = True
    given_up = 2.5  # measured: 1.39
    largest_subscale = 15
    largest_rms = 1.0  # measured: 0.49, of normal weights

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        words = np.ascontiguousarray(blocks[:, 34:50]).view("<u2")
        high = words[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7
        indices = blocks[:, 2:34] | high.reshape(-1, 32) << 8
        shift = np.where(words & 0x8000, np.float32(-0.125), np.float32(0.125))
        levels = points(self.type, AROUND_ZERO)[indices].reshape(-1, 8, 32) + shift[..., None]
        return Groups(levels, half(blocks, 0) * (2 * (words >> 12 & 7).astype(np.float32) + 1))
