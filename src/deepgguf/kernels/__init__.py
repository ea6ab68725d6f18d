"""Casts, FP8 and quantizers in C++, behind NumPy buffers, with the GIL released.

All buffers are one-dimensional and contiguous; types are ggml's numbers (`formats.gguf.types.GGMLType`). The level
(instruction set) is the widest that the machine has; the environment variable DEEPGGUF_SIMD forces another. Results
are the same bits at every level.
"""

from deepgguf.kernels._kernels import active, cast, fp8, levels, quantize, select

__all__ = ["active", "cast", "fp8", "levels", "quantize", "select"]
