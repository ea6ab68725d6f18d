"""FP8 of five bits of exponent: E5M2 codes with scales."""

import numpy as np

from deepgguf.encodings.encoding import Claim, Floats, Stored
from deepgguf.encodings.scaled import POWER_SCALES, SCALE_NAMES, Scaled
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType


class Fp8E5m2(Scaled, frozen=True):
    """E5M2 (arXiv 2209.05433, table 1) is the upper byte of an F16, with its infinities and NaNs."""

    dtype = "F8_E5M2"
    claims = (Claim("weight", ("F8_E5M2",), SCALE_NAMES),)
    kind = "FP8"

    @property
    def exact_plain(self) -> GGMLType:
        """BF16: two bits of mantissa, and a scale that is a power of two as a rule."""
        return GGMLType.BF16

    @property
    def rounds_by(self) -> str:
        """E8M0 is nothing but powers of two."""
        return "" if self.scale in POWER_SCALES else "scales that are not powers of two"

    @property
    def rounds_first(self) -> bool:
        """Yes: every FP8 model is published with its conversion to BF16, and quantized from that."""
        return True

    def levels(self, stored: Stored, buffers: Buffers) -> Floats:
        """The halves."""
        halves = (stored.blobs[0].astype(np.uint16) << 8).view(np.float16)
        return halves.astype(np.float32).reshape(stored.rows, stored.cols)
