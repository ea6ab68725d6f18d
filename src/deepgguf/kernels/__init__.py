"""Casts, FP8, MXFP4 and quantizers in C++, behind NumPy buffers, with the GIL released.

All buffers are one-dimensional and contiguous; types are ggml's numbers (`GGMLType`, made of `types.def`). The level
(instruction set) is the widest that the machine has; the environment variable DEEPGGUF_SIMD forces another. Results
are the same bits at every level.
"""

import os

from deepgguf.errors import UsageError

_UNSET = "unset it, or give one of them"

if not os.environ.get("DEEPGGUF_SIMD", "").isascii():  # Python 3.11.2 loses what nanobind would say of it
    raise UsageError("DEEPGGUF_SIMD", "not ASCII, so none of the levels", _UNSET)
try:
    from deepgguf.kernels._kernels import GGMLType, active, block_of, cast, fp8, levels, mxfp4, points, quantize, select
except ImportError as error:
    where, _, found = str(error).partition(": ")
    if where != "DEEPGGUF_SIMD":
        raise
    raise UsageError(where, found, _UNSET) from None

__all__ = ["GGMLType", "active", "block_of", "cast", "fp8", "levels", "mxfp4", "points", "quantize", "select"]
