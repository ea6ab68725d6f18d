"""What stored bits stand for, to NumPy: ggml's bits."""

import gguf.quants
import numpy as np
import pytest
from ggml_decoding import ggml_decode
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.encodings import PLAIN, WRITTEN, encoding_of
from deepgguf.formats.gguf.types import GGMLType, block_of, row_bytes
from planting import decode

QUANTIZED = sorted(WRITTEN - PLAIN)
# Where a block's float16 scales stand.
HALVES = {
    GGMLType.Q4_1: (0, 2),
    GGMLType.Q5_1: (0, 2),
    GGMLType.Q2_K: (80, 82),
    GGMLType.Q3_K: (108,),
    GGMLType.Q4_K: (0, 2),
    GGMLType.Q5_K: (0, 2),
    GGMLType.Q6_K: (208,),
    GGMLType.MXFP4: (),
    GGMLType.NVFP4: (),
    GGMLType.TQ1_0: (52,),
    GGMLType.TQ2_0: (64,),
    GGMLType.IQ1_M: (),
}
OF_THE_PACKAGE = [type for type in QUANTIZED if type not in (GGMLType.Q1_0, GGMLType.Q2_0)]


def random_blocks(type: GGMLType, rows: int, cols: int, seed: int) -> np.ndarray:
    """Random bytes, but every scale finite (of all sizes, subnormal and zero too)."""
    rng = np.random.default_rng(seed)
    block = block_of(type)
    data = rng.integers(0, 256, (rows * cols // block.weights, block.nbytes), np.uint8)
    for at in HALVES.get(type, (0,)):
        halves = rng.integers(0, 65536, len(data), np.uint16)
        infinite = (halves & 0x7C00) == 0x7C00
        data[:, at : at + 2] = np.where(infinite, halves & 0x83FF, halves)[:, None].view(np.uint8)
    if type is GGMLType.IQ1_M:
        data[:, 55] &= 0xBF  # the highest bit of the scale's exponent
    return data.reshape(rows, -1)


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("type", QUANTIZED, ids=lambda t: t.name)
def test_random_blocks_decode_to_ggmls_bits(type):
    data = random_blocks(type, rows=64, cols=2048, seed=type)
    assert_same_bits(decode(type, data, 2048), ggml_decode(type, data, 2048))


@pytest.mark.parametrize("type", OF_THE_PACKAGE, ids=lambda t: t.name)
def test_random_blocks_decode_to_the_numbers_of_the_package_gguf(type):
    data = random_blocks(type, rows=16, cols=1024, seed=type + 100)
    with np.errstate(over="ignore"):  # the largest scales of MXFP4
        expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType(int(type)))
    np.testing.assert_array_equal(decode(type, data, 1024), expected)


@pytest.mark.parametrize("type", sorted(PLAIN - {GGMLType.F32}), ids=lambda t: t.name)
def test_every_finite_number_of_sixteen_bits_decodes_to_ggmls_bits(type):
    halves = np.arange(65536, dtype=np.uint16)
    exponent = 0x7C00 if type is GGMLType.F16 else 0x7F80
    data = halves[(halves & exponent) != exponent].reshape(2, -1).view(np.uint8)
    assert_same_bits(decode(type, data, data.shape[1] // 2), ggml_decode(type, data, data.shape[1] // 2))


def test_f32_is_what_it_is():
    values = np.array([[0.0, -0.0, 1e-45], [np.inf, -3.5, 1e38]], np.float32)
    assert_same_bits(decode(GGMLType.F32, values.view(np.uint8), 3), values)


@pytest.mark.parametrize("type", QUANTIZED, ids=lambda t: t.name)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 3), blocks=st.integers(1, 3))
def test_any_shape_decodes_to_ggmls_bits(type, seed, rows, blocks):
    cols = blocks * block_of(type).weights
    data = random_blocks(type, rows, cols, seed)
    assert_same_bits(decode(type, data, cols), ggml_decode(type, data, cols))


@pytest.mark.parametrize("type", QUANTIZED, ids=lambda t: t.name)
def test_every_level_that_a_block_holds_is_listed(type):
    data = random_blocks(type, rows=64, cols=1024, seed=type)
    if type is GGMLType.Q8_0:
        data[data == 0x80] = 0x81  # −128 is a code that no quantizer makes
    np.testing.assert_array_equal(np.unique(encoding_of(type).split(data, 1024).levels), encoding_of(type).levels)


@pytest.mark.parametrize("type", [GGMLType.Q8_K, GGMLType.Q8_1, GGMLType.F64])
def test_a_type_that_is_only_read_in_headers_is_refused(type):
    with pytest.raises(ValueError, match="not among the types"):
        decode(type, np.zeros((1, row_bytes(type, 256)), np.uint8), 256)


@pytest.mark.parametrize("cols", [255, 128, 512])
def test_a_row_of_another_length_is_refused(cols):
    with pytest.raises(ValueError, match=f"144 bytes are not a row of {cols} weights of Q4_K"):
        decode(GGMLType.Q4_K, np.zeros((1, 144), np.uint8), cols)
