"""Where ggml's i-quants end the process, read what is not theirs, or lose weights (IQ3_S), blocks come out that decode."""

import numpy as np
import pytest
from ggml import ASSERTING, ggml_quantize_or_die
from ours import assert_same_blocks, quantize
from rows import make_importance, make_rows

from deepgguf import kernels
from deepgguf.encodings import encoding_of
from deepgguf.formats.gguf.types import GGMLType
from planting import decode

each_asserting = pytest.mark.parametrize("type", sorted(ASSERTING), ids=lambda type: type.name)
ROWS = make_rows("normal", 1, 4, 512)
EXTREMES = {
    "weights of 1e20": (ROWS * np.float32(1e22), np.ones(512, np.float32)),
    "weights of 1e37": (ROWS * np.float32(1e38), np.ones(512, np.float32)),
    "importance of 1e34": (ROWS, np.full(512, 1e34, np.float32)),
    "the largest of both": (np.sign(ROWS) * np.finfo(np.float32).max, np.full(512, 3e38, np.float32)),
    "one weight of 1e30": (np.where(np.arange(512) == 7, np.float32(1e30), ROWS), np.ones(512, np.float32)),
    "importance of all magnitudes": (ROWS, make_importance("all magnitudes", 2, 512)),
}
each_extreme = pytest.mark.parametrize("case", EXTREMES)


@each_asserting
@each_extreme
def test_what_ggml_cannot_search_becomes_blocks_that_decode_or_are_refused(type, case, level):
    rows, importance = EXTREMES[case]
    blocks = quantize(type, rows, importance)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(decode(type, blocks, 512)).all()
    assert finite or encoding_of(type).too_large(rows.ravel(), blocks.ravel()) is not None


@each_asserting
@each_extreme
def test_what_ggml_cannot_search_has_the_same_bytes_at_every_level(type, case, level):
    rows, importance = EXTREMES[case]
    found = quantize(type, rows, importance)
    kernels.select("wide")
    np.testing.assert_array_equal(found, quantize(type, rows, importance))


@pytest.mark.parametrize("type", sorted(ASSERTING - {GGMLType.IQ1_S, GGMLType.IQ1_M}), ids=lambda type: type.name)
def test_ggml_does_end_itself_there(type):
    """IQ1 reads beyond its arrays instead."""
    assert any(ggml_quantize_or_die(type, *case) is None for case in EXTREMES.values())


@each_asserting
def test_parts_whose_importance_is_all_zero_are_ggmls(type, level):
    importance = np.repeat(np.array([1, 0, 1, 0, 0, 0, 1, 1], np.float32), 32)
    assert_same_blocks(type, make_rows("normal", 3, 16, 256), importance)


def test_iq3_s_puts_what_follows_32_zeros_in_another_place_as_ggml_does(level):
    rows = make_rows("normal", 4, 16, 256)
    rows[:, :32] = 0
    assert_same_blocks(GGMLType.IQ3_S, rows)
    assert error_of_iq3_s(make_rows("normal", 4, 16, 256)) < 0.2
    assert error_of_iq3_s(rows) > 1.2


def error_of_iq3_s(rows) -> float:
    """Root mean square of the errors over that of the weights."""
    decoded = decode(GGMLType.IQ3_S, quantize(GGMLType.IQ3_S, rows), rows.shape[1])
    return float(np.sqrt(np.square(rows - decoded).sum() / np.square(rows).sum()))
