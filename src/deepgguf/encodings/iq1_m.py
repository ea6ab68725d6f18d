"""IQ1_M: 16 groups of 16 weights; eight levels are one of 2048 points, shifted by 1/8 up or down."""

import numpy as np
from numpy.typing import NDArray

from deepgguf.encodings.bits import fields
from deepgguf.encodings.encoding import Bytes, Floats
from deepgguf.encodings.points import AROUND_ZERO, OfPoints, points, shifted
from deepgguf.encodings.quantized import Groups
from deepgguf.formats.gguf.types import GGMLType


class Iq1M(OfPoints, frozen=True):
    """See ggml-common.h, block_iq1_m."""

    type = GGMLType.IQ1_M
    levels = shifted(AROUND_ZERO)
    f16_scales = ()
    needs_importance = True
    given_up = 32.0  # measured: 16.3, where squares leave single weights all the say
    largest_subscale = 15
    largest_rms = 1.0  # measured: 0.58, of normal weights

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        scales = _scales(blocks)
        high = fields(blocks[:, 32:48], 1, bits=4).astype(np.uint16)
        shift = np.where(high & 8, np.float32(-0.125), np.float32(0.125))
        levels = points(self.type, AROUND_ZERO)[blocks[:, :32] | (high & 7) << 8] + shift[..., None]
        threes = scales[..., None] >> np.arange(0, 12, 3, dtype=np.uint16) & 7
        step = _unit(scales).view("<f2").astype(np.float32) * (2 * threes.reshape(-1, 16).astype(np.float32) + 1)
        return Groups(levels.reshape(-1, 16, 16), step)

    def too_large(self, floats: Floats, out: Bytes) -> int | None:
        """See `Quantized.too_large`; the scale's four quarters stand apart."""
        infinite = _unit(_scales(out.reshape(-1, 56))) & 0x7C00 == 0x7C00
        return int(infinite.argmax()) * 256 if infinite.any() else super().too_large(floats, out)


def _scales(blocks: Bytes) -> NDArray[np.uint16]:
    """Four words of every block: four scales of three bits, and a quarter of d."""
    return np.ascontiguousarray(blocks[:, 48:56]).view("<u2")


def _unit(scales: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The bits of d, [blocks, 1], the lowest quarter of which comes first."""
    quarters = scales >> 12 << np.arange(0, 16, 4, dtype=np.uint16)
    return np.bitwise_or.reduce(quarters, axis=1, keepdims=True)
