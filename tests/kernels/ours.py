"""deepgguf's quantizers, called as `ggml.ggml_quantize` is, and the two compared."""

import numpy as np
from ggml import ASSERTING, ggml_quantize, ggml_quantize_or_die
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


def quantizable(importance: bool = True) -> list[GGMLType]:
    """The types that the table of kernels has: all, or those that can do without importance."""
    return [type for type in GGMLType if _has_kernel(type, importance)]


def _has_kernel(type: GGMLType, importance: bool) -> bool:
    try:
        quantize(type, np.zeros((1, 256), np.float32), np.ones(256, np.float32) if importance else None)
    except ValueError:
        return False
    return True


def assert_same_blocks(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> None:
    """The active level's blocks of `rows` are ggml's; where ggml ends itself, there are some."""
    _assert_same_blocks(type, rows, importance, [kernels.active()])


def assert_same_blocks_at_every_level(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> None:
    """The same of every level of this machine. ggml, which is much slower, is asked once."""
    active = kernels.active()
    try:
        _assert_same_blocks(type, rows, importance, kernels.levels())
    finally:
        kernels.select(active)


def _assert_same_blocks(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None, levels: list[str]
) -> None:
    expected = (ggml_quantize_or_die if type in ASSERTING else ggml_quantize)(type, rows, importance)
    for level in levels:
        kernels.select(level)
        found = quantize(type, rows, importance)
        if expected is not None:
            np.testing.assert_array_equal(found, expected, err_msg=level)
    if expected is None and len(rows) > 1:
        for half in np.array_split(rows, 2):
            _assert_same_blocks(type, half, importance, levels)
