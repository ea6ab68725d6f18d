"""Casts, FP8 and quantizers in C++, behind NumPy buffers, with the GIL released.

All buffers are one-dimensional and contiguous; types are ggml's numbers (`GGMLType`, made of `types.def`). The level
(instruction set) is the widest that the machine has; the environment variable DEEPGGUF_SIMD forces another. Results
are the same bits at every level.
"""

from deepgguf.kernels._kernels import GGMLType, active, block_of, cast, fp8, levels, quantize, select

__all__ = ["GGMLType", "active", "block_of", "cast", "fp8", "levels", "quantize", "select"]
