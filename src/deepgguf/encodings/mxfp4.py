"""MXFP4: blocks of 32 FP4 (E2M1), with a power of two (E8M0)."""

import numpy as np

from deepgguf.encodings.bits import E2M1_HALVES, nibbles
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Mxfp4(Quantized, frozen=True):
    """See ggml-common.h, block_mxfp4."""

    type = GGMLType.MXFP4
    levels = np.unique(E2M1_HALVES)
    f16_scales = ()
    takes_importance = False

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        exponent = blocks[:, :1].astype(np.int32)
        # Levels are halves, so the step is half of 2^(exponent − 127). 255 is NaN by the specification, not to ggml.
        return Groups(E2M1_HALVES[nibbles(blocks[:, 1:], 16)], np.ldexp(np.float32(1), exponent - 128))
