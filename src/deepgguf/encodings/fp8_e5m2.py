"""FP8 of five bits of exponent: E5M2 codes with scales."""

import numpy as np

from deepgguf.encodings.encoding import Claim, Floats, Stored
from deepgguf.encodings.fp8_codes import Fp8Codes
from deepgguf.encodings.scaled import SCALE_NAMES
from deepgguf.executors.buffers import Buffers


class Fp8E5m2(Fp8Codes, frozen=True):
    """E5M2 (arXiv 2209.05433, table 1) is the upper byte of an F16, with its infinities and NaNs."""

    dtype = "F8_E5M2"
    claims = (Claim("weight", ("F8_E5M2",), SCALE_NAMES),)

    def levels(self, stored: Stored, buffers: Buffers) -> Floats:
        """The halves."""
        halves = (stored.blobs[0].astype(np.uint16) << 8).view(np.float16)
        return halves.astype(np.float32).reshape(stored.rows, stored.cols)
