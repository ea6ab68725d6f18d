"""deepgguf's quantizers, called as `ggml.ggml_quantize` is."""

import numpy as np
from numpy.typing import NDArray

from deepgguf import kernels
from deepgguf.gguf.types import GGMLType, row_bytes


def quantize(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """The blocks that the active level's kernel makes of `rows` (2-D)."""
    out = np.zeros((rows.shape[0], row_bytes(type, rows.shape[1])), np.uint8)
    kernels.quantize(rows.reshape(-1), rows.shape[1], int(type), importance, out.reshape(-1), out.shape[1])
    return out


def has_kernel(type: GGMLType) -> bool:
    """Whether the table of kernels has this type."""
    try:
        quantize(type, np.zeros((1, 256), np.float32))
    except ValueError:
        return False
    return True
