"""FP8 (E4M3) times block scales: every code times every kind of scale, against NumPy, and every count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepgguf.formats.gguf.types import GGMLType
from deepgguf.kernels import fp8

pytestmark = pytest.mark.usefixtures("level")

F32, F16, BF16 = GGMLType.F32, GGMLType.F16, GGMLType.BF16
ELEMENT = {F32: np.dtype(np.uint32), F16: np.dtype(np.uint16), BF16: np.dtype(np.uint16)}
INFINITY = {F32: 0x7F800000, F16: 0x7C00, BF16: 0x7F80}
SCALES = [
    *(0.0, -0.0, 1.0, -1.0, 0.1, 1.2345678e-3, -2.7e-4, 3.0e-5, 448.0, 145.0, 146.2, 1.0 / 3.0),
    *(2.0**-99, 2.0**-100, 2.0**-101, 1.7e-36, 1e-38, 1e-40, 1e-45, -1e-44),
    *(2.0**99, 2.0**100, 2.0**101, 7.5e35, 7.6e35, 1e36, 3e38, -3.4e38),
    *(np.inf, -np.inf, np.nan),
]


def e4m3(code: int) -> float:
    """Sign, four bits of exponent (bias 7), three of fraction; no infinity, all ones is NaN (arXiv 2209.05433)."""
    sign, exponent, fraction = -1.0 if code & 0x80 else 1.0, (code >> 3) & 15, code & 7
    if exponent == 15 and fraction == 7:
        return np.nan
    return sign * (fraction * 2.0**-9 if exponent == 0 else (8 + fraction) * 2.0 ** (exponent - 10))


VALUES = np.array([e4m3(code) for code in range(256)], np.float32)


def is_nan(bits: NDArray[np.generic], type: GGMLType) -> NDArray[np.bool_]:
    return (bits & ((1 << (8 * bits.itemsize - 1)) - 1)) > INFINITY[type]


def expected(
    codes: NDArray[np.uint8], scales: NDArray[np.float32], type: GGMLType
) -> tuple[NDArray[np.generic], tuple[int, int, int]]:
    """`scales` has one scale per element."""
    with np.errstate(all="ignore"):
        products = VALUES[codes] * scales
        bits = products.view(np.uint32)
        dst: NDArray[np.generic] = bits
        if type == F16:
            dst = products.astype(np.float16).view(np.uint16)
        if type == BF16:
            dst = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
            dst = np.where(np.isnan(products), np.uint16(0x7FC0), dst)
    infinite = (dst & ((1 << (8 * dst.itemsize - 1)) - 1)) == INFINITY[type]
    nan, inf = int(np.isnan(products).sum()), int(np.isinf(products).sum())
    return dst, (nan, inf, int((np.isfinite(products) & infinite).sum()))


def check(
    matrix: NDArray[np.uint8], scales: NDArray[np.float32], block: tuple[int, int], run: slice, type: GGMLType
) -> None:
    """Rows `run` of the matrix; `scales` are those of the whole matrix."""
    cols = matrix.shape[1]
    rows = np.arange(matrix.shape[0])[run]
    codes = np.ascontiguousarray(matrix[run]).reshape(-1)
    touched = scales[rows[0] // block[0] : rows[-1] // block[0] + 1]
    out = np.full(codes.size * ELEMENT[type].itemsize, 0xA5, np.uint8)
    counts = fp8(codes, cols, int(rows[0]), np.ascontiguousarray(touched).reshape(-1), block[0], block[1], out, type)
    per_element = scales[np.ix_(rows // block[0], np.arange(cols) // block[1])].reshape(-1)
    dst, dst_counts = expected(codes, per_element, type)
    got = out.view(ELEMENT[type])
    nan = is_nan(dst, type)
    assert counts == dst_counts
    np.testing.assert_array_equal(is_nan(got, type), nan)
    np.testing.assert_array_equal(got[~nan], dst[~nan])


@pytest.mark.parametrize("type", ELEMENT)
@pytest.mark.parametrize("scale", SCALES)
def test_every_code_times_every_kind_of_scale_matches_numpy(scale: float, type: GGMLType) -> None:
    codes = np.arange(256, dtype=np.uint8)
    check(codes.reshape(1, 256), np.array([[scale]], np.float32), (1, 256), slice(0, 1), type)
    check(np.delete(codes, [0x7F, 0xFF]).reshape(1, 254), np.array([[scale]], np.float32), (1, 254), slice(0, 1), type)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8), st.sampled_from([F32, F16, BF16]))
def test_every_code_times_any_scale_matches_numpy(bits: list[int], type: GGMLType) -> None:
    scales = np.array(bits, np.uint32).view(np.float32).reshape(1, -1)
    codes = np.tile(np.arange(256, dtype=np.uint8), scales.size).reshape(1, -1)
    check(codes, scales, (1, 256), slice(0, 1), type)


@pytest.mark.parametrize("type", ELEMENT)
@pytest.mark.parametrize("run", [slice(0, 20), slice(0, 1), slice(3, 9), slice(8, 16), slice(7, 18), slice(19, 20)])
@pytest.mark.parametrize(
    ("block", "cols"), [((8, 16), 48), ((8, 16), 37), ((8, 16), 7), ((3, 5), 31), ((128, 128), 130)]
)
def test_blocks_end_at_the_edges_of_the_matrix_and_runs_anywhere(
    type: GGMLType, run: slice, block: tuple[int, int], cols: int
) -> None:
    rng = np.random.default_rng(cols)
    matrix = rng.integers(0, 256, (20, cols), np.uint8)
    scales = rng.choice(np.array(SCALES, np.float32), (-(-20 // block[0]), -(-cols // block[1])))
    check(matrix, scales, block, run, type)


@pytest.mark.parametrize(("code", "half"), [(0x7F, 0x7FC0), (0xFF, 0xFFC0)])
def test_a_nan_code_keeps_its_sign_in_bf16(code: int, half: int) -> None:
    out = np.zeros(2 * 32, np.uint8)
    assert fp8(np.full(32, code, np.uint8), 32, 0, np.ones(1, np.float32), 1, 32, out, BF16) == (32, 0, 0)
    assert out.view(np.uint16).tolist() == [half] * 32


@pytest.mark.parametrize("type", ELEMENT)
def test_no_bytes_beyond_the_destination_are_written(type: GGMLType) -> None:
    size = 21 * ELEMENT[type].itemsize
    memory = np.full(size + 64, 0xA5, np.uint8)
    fp8(np.full(21, 0x38, np.uint8), 21, 0, np.ones(1, np.float32), 1, 21, memory[:size], type)
    assert (memory[size:] == 0xA5).all()
