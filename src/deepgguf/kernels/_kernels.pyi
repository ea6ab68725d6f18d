"""The C++ module (module.cpp)."""

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

def levels() -> list[str]:
    """The levels that this machine can run, the default last."""

def select(level: str) -> str:
    """Use this level from now on, for tests; ValueError if the machine has no such level."""

def active() -> str:
    """The level in use."""

def cast(src: Bytes, from_type: int, dst: Bytes, to_type: int) -> tuple[int, int, int]:
    """Elements of F32, F16 or BF16 to another of these, to nearest even.

    Returns how many source elements are NaN, how many are infinite, and how many finite ones became infinite.
    """

def fp8(
    src: Bytes, cols: int, row0: int, scales: Floats, block_rows: int, block_cols: int, dst: Bytes, to_type: int
) -> tuple[int, int, int]:
    """Rows of an FP8 (E4M3) matrix, the first of which is row `row0`, times their blocks' scales.

    `scales`: those of the blocks that the rows touch, row-major. Returns counts as `cast` does, of the products.
    """

def quantize(src: Floats, cols: int, type: int, importance: Floats | None, dst: Bytes, row_bytes: int) -> None:
    """Rows of `cols` floats to rows of `row_bytes` bytes of a quantized type; `importance`: a weight per column."""
