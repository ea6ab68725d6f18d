"""FP4 is taken over into MXFP4 without a number between, and FP8 with powers of two becomes Q8_0: both to the bit."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepgguf import kernels
from deepgguf.encodings.encoding import Stored
from deepgguf.encodings.fp4 import Fp4
from deepgguf.encodings.fp8 import Fp8
from deepgguf.encodings.mxfp4 import Mxfp4
from deepgguf.encodings.q8_0 import Q80
from deepgguf.encodings.scaled import scale_values
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType

VECTORS = json.loads((Path(__file__).parents[1] / "goldens" / "v32v4" / "vectors.json").read_text())
FP4 = Fp4((1, 32), "F8_E8M0", "scale")


def from_hex(rows: list[str]) -> np.ndarray:
    return np.frombuffer(bytes.fromhex("".join(rows)), np.uint8)


def stored(codes: np.ndarray, scales: np.ndarray, cols: int) -> Stored:
    return Stored("x.weight", 0, len(codes) * 2 // cols, cols, (codes, scales))


def repacked(codes: np.ndarray, scales: np.ndarray, cols: int) -> np.ndarray:
    out = np.empty(len(scales) * 17, np.uint8)
    FP4.repack(stored(codes, scales, cols), out)
    return out


def test_blocks_are_those_of_llamacpps_converter():
    golden = VECTORS["mxfp4_repack"]
    codes, scales = from_hex(golden["weight_I8_rows4_bytes32"]), from_hex(golden["scale_rows4_2"])
    found = repacked(codes, scales, 64)
    assert np.array_equal(found, from_hex(golden["gguf_rows"]))
    values = Mxfp4().values(Stored("x", 0, 4, 64, (found,)), Buffers())
    assert values[0, :8].tolist() == golden["values_row0_first8"]


def test_every_code_and_scale_means_in_a_block_what_it_meant_before():
    rng = np.random.default_rng(0)
    scales = np.arange(255, dtype=np.uint8)
    codes = rng.integers(0, 256, 255 * 16, dtype=np.uint8)
    found = Mxfp4().values(Stored("x", 0, 255, 32, (repacked(codes, scales, 32),)), Buffers())
    assert np.array_equal(found, FP4.values(stored(codes, scales, 32), Buffers()))


def test_the_kernel_and_numpy_make_the_same_blocks():
    rng = np.random.default_rng(1)
    codes, scales = (rng.integers(0, 255, n, dtype=np.uint8) for n in (7 * 96 // 2, 7 * 3))
    assert np.array_equal(repacked(codes, scales, 96), FP4.packed(stored(codes, scales, 96)))


@pytest.mark.parametrize(("codes", "out"), [(31, 34), (33, 34), (32, 33), (32, 51)])
def test_buffers_of_other_sizes_are_refused(codes, out):
    with pytest.raises(ValueError, match="mxfp4: "):
        kernels.mxfp4(np.zeros(codes, np.uint8), np.zeros(2, np.uint8), np.zeros(out, np.uint8))


def test_powers_of_two_are_those_of_the_format():
    expected = np.array([int(bits, 16) for bits in VECTORS["e8m0_float32"]], np.uint32)[:255]
    assert np.array_equal(scale_values(np.arange(255, dtype=np.uint8), "F8_E8M0").view(np.uint32), expected)


def test_fp8_becomes_q8_0_by_way_of_the_float32_product():
    golden = VECTORS["fp8_to_q8_0"]
    codes, scales = from_hex(golden["weight"]), np.array(golden["scale_e8m0"], np.uint8).ravel()
    cols = len(golden["weight"][0]) // 2
    form, rows = Fp8((128, 128), "F8_E8M0", "scale"), len(golden["weight"])
    floats = np.empty(rows * cols, np.float32)
    form.decode(Stored("x.weight", 0, rows, cols, (codes, scales)), GGMLType.F32, floats.view(np.uint8))
    out = np.empty(rows * cols // 32 * 34, np.uint8)
    Q80().encode(floats, cols, None, out)
    assert np.array_equal(out, from_hex(golden["q8_0"]))
