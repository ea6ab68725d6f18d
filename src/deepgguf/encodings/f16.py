"""F16: IEEE 754's half precision, little-endian."""

import numpy as np

from deepgguf.encodings.encoding import Floats, Stored
from deepgguf.encodings.plain import Plain
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType


class F16(Plain, frozen=True):
    """Elements of F16."""

    dtype = "F16"
    type = GGMLType.F16

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Exact, as float32 holds them all."""
        return stored.blobs[0].view("<f2").astype(np.float32).reshape(stored.rows, stored.cols)
