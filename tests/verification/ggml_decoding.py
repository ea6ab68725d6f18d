"""ggml's own quantizers and dequantizers, from the library that libggml-python installs."""

import ctypes
from pathlib import Path

import libggml
import numpy as np
from numpy.typing import NDArray

from deepgguf.formats.gguf.types import GGMLType, row_bytes


class _TypeTraits(ctypes.Structure):
    """ggml.h, struct ggml_type_traits, as far as it is read."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    )


_LIBRARY = ctypes.CDLL(str(next(Path(libggml.__path__[0]).glob("lib*/libggml-base.so"))))
_TRAITS = _LIBRARY.ggml_get_type_traits
_TRAITS.restype, _TRAITS.argtypes = ctypes.POINTER(_TypeTraits), [ctypes.c_int]
_REQUIRES = _LIBRARY.ggml_quantize_requires_imatrix
_REQUIRES.restype, _REQUIRES.argtypes = ctypes.c_bool, [ctypes.c_int]
_QUANTIZE = _LIBRARY.ggml_quantize_chunk
_QUANTIZE.restype = ctypes.c_size_t
_QUANTIZE.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]


def ggml_decode(type: GGMLType, data: NDArray[np.uint8], cols: int) -> NDArray[np.float32]:
    """What to_float of ggml makes of rows [rows, bytes]: float32 [rows, cols]."""
    traits = _TRAITS(int(type)).contents
    assert (traits.type_name.decode().upper(), traits.type_size) == (type.name, row_bytes(type, traits.blck_size))
    out = np.empty((len(data), cols), np.float32)
    for row, values in zip(data, out, strict=True):
        traits.to_float(row.ctypes.data, values.ctypes.data, cols)
    return out


def ggml_encode(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """The blocks that ggml_quantize_chunk makes of `rows` [rows, cols]; `importance` has one weight per column.

    Without it all columns weigh the same for types that ggml does not make without.
    """
    if importance is None and _REQUIRES(int(type)):
        importance = np.ones(rows.shape[1], np.float32)
    rows = np.ascontiguousarray(rows, np.float32)
    out = np.zeros((rows.shape[0], row_bytes(type, rows.shape[1])), np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    pointer = None if weights is None else weights.ctypes.data
    assert _QUANTIZE(int(type), rows.ctypes.data, out.ctypes.data, 0, *rows.shape, pointer) == out.nbytes
    return out
