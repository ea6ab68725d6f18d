"""BF16: the upper half of an F32."""

import numpy as np

from deepgguf.encodings.encoding import Floats, Stored
from deepgguf.encodings.plain import Plain
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType


class Bf16(Plain, frozen=True):
    """Elements of BF16."""

    dtype = "BF16"
    type = GGMLType.BF16

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Exact, as float32 holds them all."""
        return (stored.blobs[0].view("<u2").astype(np.uint32) << 16).view(np.float32).reshape(stored.rows, stored.cols)
