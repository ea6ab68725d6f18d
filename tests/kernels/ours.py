"""deepgguf's quantizers, called as `ggml.ggml_quantize` is, and the two compared."""

import numpy as np
from ggml import ggml_quantize
from numpy.typing import NDArray

from deepgguf import kernels
from deepgguf.formats.gguf.types import GGMLType, row_bytes


def quantize(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """The blocks that the active level's kernel makes of `rows` (2-D)."""
    out = np.zeros((rows.shape[0], row_bytes(type, rows.shape[1])), np.uint8)
    kernels.quantize(rows.reshape(-1), rows.shape[1], int(type), importance, out.reshape(-1), out.shape[1])
    return out


def quantizable() -> list[GGMLType]:
    """The types that the table of kernels has."""
    return [type for type in GGMLType if _has_kernel(type)]


def _has_kernel(type: GGMLType) -> bool:
    try:
        quantize(type, np.zeros((1, 256), np.float32))
    except ValueError:
        return False
    return True


def assert_same_blocks(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> None:
    """The active level's blocks of `rows` are ggml's."""
    np.testing.assert_array_equal(quantize(type, rows, importance), ggml_quantize(type, rows, importance))
