"""IQ3_S: 8 groups of 32 weights; four magnitudes are one of 512 points, all their signs are stored."""

import numpy as np

from deepgguf.encodings.bits import fields, half
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.points import OfPoints, points, signs_of, with_signs
from deepgguf.encodings.quantized import Groups
from deepgguf.formats.gguf.types import GGMLType

_MAGNITUDES = (1, 3, 5, 7, 9, 11, 13, 15)  # ggml-common.h, iq3s_grid


class Iq3S(OfPoints, frozen=True):
    """See ggml-common.h, block_iq3_s."""

    type = GGMLType.IQ3_S
    levels = with_signs(_MAGNITUDES)
    given_up = 4.0  # measured: 2.20
    largest_subscale = 31
    # quantize_row_iq3_s_impl passes over a group of zeros without moving on where it writes.
    weakness = "IQ3_S puts what follows 32 zeros in a block of 256 in another place"

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        indices = blocks[:, 2:66] | fields(blocks[:, 66:74], 1, bits=1).astype(np.uint16) << 8
        step = half(blocks, 0) * (1 + 2 * fields(blocks[:, 106:110], 1, bits=4).astype(np.float32))
        levels = points(self.type, _MAGNITUDES)[indices].reshape(-1, 256) * signs_of(blocks[:, 74:106])
        return Groups(levels.reshape(-1, 8, 32), step)
