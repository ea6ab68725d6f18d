"""IQ2_XS: 16 groups of 16 weights; eight magnitudes are one of 512 points, seven signs of them are stored."""

import numpy as np

from deepgguf.encodings.bits import fields, half
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.points import OF_TWO_BITS, OfPoints, eight_signs, points, signs_of, with_signs
from deepgguf.encodings.quantized import Groups
from deepgguf.formats.gguf.types import GGMLType


class Iq2Xs(OfPoints, frozen=True):
    """See ggml-common.h, block_iq2_xs."""

    type = GGMLType.IQ2_XS
    levels = with_signs(OF_TWO_BITS)
    needs_importance = True
    impossible_without_importance = True
    given_up = 2.0  # measured: 1.21
    largest_subscale = 4

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        vectors = np.ascontiguousarray(blocks[:, 2:66]).view("<u2")
        scales = fields(blocks[:, 66:74], 1, bits=4).astype(np.float32)
        step = half(blocks, 0) * (np.float32(0.5) + scales) * np.float32(0.25)
        levels = points(self.type, OF_TWO_BITS)[vectors & 511].reshape(-1, 256) * signs_of(eight_signs(vectors >> 9))
        return Groups(levels.reshape(-1, 16, 16), step)
