"""FP8 of four bits of exponent: E4M3 codes with scales, as DeepSeek and most others store it.

E4M3 (arXiv 2209.05433, table 1) has bias 7, no infinities, and NaN where all but the sign is 1s.
"""

import numpy as np
from numpy.typing import NDArray

from deepgguf import kernels
from deepgguf.encodings.encoding import Bytes, Claim, Counts, Floats, Stored
from deepgguf.encodings.fp8_codes import Fp8Codes
from deepgguf.encodings.scaled import SCALE_NAMES
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType

_UNIT = np.float32(2.0**120)


class Fp8(Fp8Codes, frozen=True):
    """E4M3 with a scale for every block: DeepSeek's squares, rows (compressed-tensors, strategy channel) or all."""

    dtype = "F8_E4M3"
    claims = (Claim("weight", ("F8_E4M3",), SCALE_NAMES),)

    @property
    def working(self) -> int:
        """None."""
        return 0

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """Codes times scales, rounded once; errors as of `check_scales`."""
        scales = self.checked_scales(stored)
        return Counts(*kernels.fp8(stored.blobs[0], stored.cols, stored.first, scales, *self.block, out, type))

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Codes times their scales, rounded once to float32; infinite where that is too large.

        The sign, four bits of exponent and three of mantissa of E4M3, moved to where float32 has its own, make 2^-120
        of the value, as the biases are 7 and 127.
        """
        codes, scales = stored.blobs[0].reshape(stored.rows, stored.cols), self.scale_floats(stored)
        bits: NDArray[np.int32] = buffers.take("fp8 values", codes.size, np.int32).reshape(codes.shape)
        np.copyto(bits, codes.view(np.int8))  # copies of the sign fill the upper bits
        bits <<= 20
        bits &= np.int32(0x07F0_0000 - 0x8000_0000)
        values: Floats = bits.view(np.float32)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            np.setbufsize(1024)  # shorter rows than its buffer NumPy multiplies at half the speed; errstate restores it
            if np.isfinite(scales * _UNIT).all():
                scales *= _UNIT
            else:
                values *= _UNIT
            self.by_block(np.multiply, values, scales, stored.first)
        magnitude = np.bitwise_or(codes, 0x80, out=buffers.take("magnitude", bits.size).reshape(bits.shape))
        if magnitude.max(initial=0) == 0xFF:
            values[magnitude == 0xFF] = np.nan
        return values
