"""A file's rows back to numbers, in NumPy, sharing nothing with the kernels that make them."""

import numpy as np

from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Bytes, Floats, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType


def decode(type: GGMLType, data: Bytes, cols: int) -> Floats:
    """The weights of quantized or plain rows.

    `data` uint8 [rows, row_bytes(type, cols)]; the result float32 [rows, cols], the same bits as ggml's to_float.
    Raises ValueError for a type that deepgguf does not write, and if `cols` is not a whole number of blocks.
    """
    stored = Stored("", 0, len(data), cols, (np.ascontiguousarray(data).reshape(-1),))
    return encoding_of(type).values(stored, Buffers())
