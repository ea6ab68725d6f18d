"""ggml's own quantizers, from the library that libggml-python installs: what the kernels are compared with, bit by bit."""

import ctypes
from pathlib import Path

import libggml
import numpy as np
from numpy.typing import NDArray

from deepgguf.formats.gguf.types import GGMLType, row_bytes

_LIBRARY = ctypes.CDLL(str(next(Path(libggml.__path__[0]).glob("lib*/libggml-base.so"))))
_QUANTIZE_CHUNK = _LIBRARY.ggml_quantize_chunk
_QUANTIZE_CHUNK.restype = ctypes.c_size_t
_QUANTIZE_CHUNK.argtypes = [
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
]


def ggml_quantize(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """The blocks that ggml_quantize_chunk makes of `rows` (2-D); `importance` has one weight per column."""
    rows = np.ascontiguousarray(rows, np.float32)
    out = np.zeros((rows.shape[0], row_bytes(type, rows.shape[1])), np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    written = _QUANTIZE_CHUNK(
        int(type),
        rows.ctypes.data,
        out.ctypes.data,
        0,
        rows.shape[0],
        rows.shape[1],
        None if weights is None else weights.ctypes.data,
    )
    assert written == out.nbytes
    return out
