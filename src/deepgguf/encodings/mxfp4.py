"""MXFP4: blocks of 32 FP4 (E2M1), with a power of two (E8M0)."""

import numpy as np

from deepgguf.encodings.bits import nibbles
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType

# OCP Microscaling Formats (MX) 1.0, table 5, FP4 E2M1, in halves: sign, two bits of exponent, one of mantissa.
_FP4_HALVES = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)


class Mxfp4(Quantized, frozen=True):
    """See ggml-common.h, block_mxfp4."""

    type = GGMLType.MXFP4
    levels = np.array(sorted(set(_FP4_HALVES.tolist())), np.float32)
    f16_scales = ()
    takes_importance = False

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        exponent = blocks[:, :1].astype(np.int32)
        # Levels are halves, so the step is half of 2^(exponent − 127). 255 is NaN by the specification, not to ggml.
        return Groups(_FP4_HALVES[nibbles(blocks[:, 1:], 16)], np.ldexp(np.float32(1), exponent - 128))
