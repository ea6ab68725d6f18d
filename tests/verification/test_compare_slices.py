"""One slice against its source: a right one passes whatever its scales, one wrong bit is found and placed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.encodings.encoding import Stored
from deepgguf.encodings.fp8 import Fp8
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.verification.compare_slices import compare_slice
from deepgguf.verification.plain_bits import to_bits
from deepgguf.verification.slices import Batch, Slice

ROWS, COLS, BLOCK = 12, 20, (5, 8)
FIRST = 3  # the slice starts in the middle of a block
SCALES = {
    "F32": np.linspace(1e-4, 3e-4, 9, dtype=np.float32),
    "BF16": (0x3F80 + np.arange(9) * 13).astype(np.uint16),  # many products are ties
    "F8_E8M0": np.array([0, 1, 90, 126, 127, 128, 200, 253, 254], np.uint8),
}


def values_of(dtype, scales):
    if dtype == "BF16":
        return (scales.astype(np.uint32) << 16).view(np.float32)
    return scales if dtype == "F32" else np.ldexp(np.float32(1), scales.astype(int) - 127)


def fp8_slice(type, dtype, transposed, *, nan):
    """The right bits of a slice, and what compares bytes with its source."""
    codes = np.random.default_rng(0).integers(0, 256, (FIRST + ROWS, COLS), np.uint8)
    codes[codes & 127 == 127] = 0x7F if nan else 0x7E
    scales = SCALES[dtype]
    magnitude = np.where(codes & 0x78, (8 + (codes & 7)) * 2.0 ** ((codes >> 3 & 15) - 10.0), (codes & 7) * 2.0**-9)
    magnitude[codes == 0x7F] = np.nan
    signed = np.where(codes & 0x80, -magnitude, magnitude).astype(np.float32)
    places = np.arange(FIRST + ROWS)[:, None] // BLOCK[0], np.arange(COLS) // BLOCK[1]
    with np.errstate(over="ignore"):
        bits = to_bits(type, (values_of(dtype, scales).reshape(3, 3)[places] * signed)[FIRST:])
    bits = np.ascontiguousarray(bits.T if transposed else bits)
    source = SourceTensor("w", codes.shape, Fp8(BLOCK, dtype), ())
    there = Slice(0, 0 if transposed else -1, 0, FIRST, ROWS, COLS, transposed, 0, bits.nbytes)
    batch = Batch(0, 0, 0, type, source, 1, None, (there,))
    whole = codes.reshape(-1), scales.view(np.uint8)
    ranges = source.encoding.ranges(COLS, FIRST, ROWS)
    blobs = tuple(blob[start : start + nbytes] for blob, (start, nbytes) in zip(whole, ranges, strict=True))
    stored = Stored("w", FIRST, ROWS, COLS, blobs)

    def compare():
        return compare_slice(batch, there, bits.view(np.uint8).ravel(), stored, Buffers())

    return bits, compare


def for_each_kind(test):
    test = pytest.mark.parametrize("type", [GGMLType.BF16, GGMLType.F16, GGMLType.F32])(test)
    test = pytest.mark.parametrize("dtype", SCALES)(test)
    return pytest.mark.parametrize("transposed", [False, True])(test)


@for_each_kind
def test_right_bits_pass_and_nan_with_any_payload(type, dtype, transposed):
    bits, compare = fp8_slice(type, dtype, transposed, nan=True)
    assert compare() == (None, None)
    floats = bits.view(np.float32 if type is GGMLType.F32 else np.float16)
    nan = floats != floats if type is not GGMLType.BF16 else bits & 0x7FFF > 0x7F80
    assert nan.any()
    bits[nan] ^= 1
    assert compare() == (None, None)


@for_each_kind
@given(place=st.integers(0, ROWS * COLS - 1), bit=st.integers(0, 31))
def test_one_flipped_bit_is_found_where_it_is(type, dtype, transposed, place, bit):
    bits, compare = fp8_slice(type, dtype, transposed, nan=False)
    bits.reshape(-1)[place] ^= bits.dtype.type(1 << bit % (8 * bits.itemsize))
    wrong, squares = compare()
    assert squares is None
    assert (wrong.count, wrong.row, wrong.column) == (1, *divmod(place, bits.shape[1]))
