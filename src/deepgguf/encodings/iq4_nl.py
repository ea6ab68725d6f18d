"""IQ4_NL: blocks of 32 codes of four bits on a curve, with a scale (F16)."""

from deepgguf.encodings.bits import NONLINEAR, half, nibbles
from deepgguf.encodings.encoding import Bytes
from deepgguf.encodings.quantized import Groups, Quantized
from deepgguf.formats.gguf.types import GGMLType


class Iq4Nl(Quantized, frozen=True):
    """See ggml-common.h, block_iq4_nl."""

    type = GGMLType.IQ4_NL
    levels = NONLINEAR
    level_before_rounding = True

    def groups(self, blocks: Bytes) -> Groups:
        """Steps and levels."""
        return Groups(NONLINEAR[nibbles(blocks[:, 2:], 16)], half(blocks, 0))
