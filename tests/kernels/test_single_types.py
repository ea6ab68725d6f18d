"""Rules that apply to only one or two quantization types, at every level of this machine."""

import numpy as np
import pytest
from ggml import ggml_quantize
from ours import assert_same_blocks, quantize
from rows import make_importance, make_rows

from deepgguf.formats.gguf.types import GGMLType


@pytest.mark.parametrize("type", [GGMLType.Q8_0, GGMLType.MXFP4], ids=lambda type: type.name)
def test_importance_changes_nothing(type: GGMLType, level: str) -> None:
    rows = make_rows("normal", 7, 2, 256)
    importance = make_importance("spikes", 8, 256)
    np.testing.assert_array_equal(quantize(type, rows, importance), quantize(type, rows))


def test_q8_0_rounds_halves_away_from_zero(level: str) -> None:
    weights = np.array([127, 0.5, -0.5, 1.5, -1.5, 2.5, 126.5, 0.49999997, -0.49999997, 1.4999999], np.float32)
    row = np.pad(weights, (0, 32 - weights.size))
    block = quantize(GGMLType.Q8_0, row[None])[0]
    assert block[:2].tolist() == [0x00, 0x3C]
    assert block[2:12].view(np.int8).tolist() == [127, 1, -1, 2, -2, 3, 127, 0, 0, 1]


def test_q4_1_keeps_the_sign_of_the_first_zero_as_minimum(level: str) -> None:
    for first, half in ((0.0, 0x0000), (-0.0, 0x8000)):
        row = np.array([first, -first, *range(1, 31)], np.float32)
        assert quantize(GGMLType.Q4_1, row[None])[0, 2:4].view(np.uint16)[0] == half
        assert_same_blocks(GGMLType.Q4_1, row[None])


def test_a_scale_fitted_below_zero_wraps_into_the_next_ones_bits(level: str) -> None:
    rows, importance = make_rows("mixed magnitudes", 816, 8, 1024), make_importance("half zero", 816, 1024)
    scales = ggml_quantize(GGMLType.Q4_K, rows, importance).reshape(-1, 144)[:, 4:8]
    assert (scales == 255).any()
    assert_same_blocks(GGMLType.Q4_K, rows, importance)
