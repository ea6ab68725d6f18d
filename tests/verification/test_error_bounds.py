"""What ggml's quantizers leave is within the bounds, and what is wrong is not."""

import numpy as np
import pytest
from ggml_decoding import ggml_encode
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepgguf.encodings import PLAIN, WRITTEN, encoding_of
from deepgguf.formats.gguf.types import GGMLType, block_of
from deepgguf.verification.error_bounds import Importance, allowed_error
from planting import decode

COLS = 512
QUANTIZED = sorted(WRITTEN - PLAIN)
UNWEIGHTED_ONLY = {t for t in QUANTIZED if not encoding_of(t).takes_importance}
THREE_LEVELS = {GGMLType.TQ1_0, GGMLType.TQ2_0}  # many weights are half a step from the nearest
CHOSEN_TOGETHER = {t for t in QUANTIZED if encoding_of(t).chosen_together}
BELOW_FOUR_BITS = CHOSEN_TOGETHER | THREE_LEVELS | {GGMLType.Q1_0, GGMLType.Q2_0}
SEARCHED_LEVELS = {GGMLType.Q4_0, GGMLType.Q4_1, GGMLType.Q5_0, GGMLType.Q5_1}
A_BYTE_OF_CODES = {t: block_of(t).nbytes - 1 for t in QUANTIZED} | {
    GGMLType.Q2_K: 40,
    GGMLType.Q3_K: 40,
    GGMLType.Q6_K: 5,
}

each_type = pytest.mark.parametrize("type", QUANTIZED, ids=lambda t: t.name)
each_type_of_single_levels = pytest.mark.parametrize(
    "type", [t for t in QUANTIZED if t not in CHOSEN_TOGETHER], ids=lambda t: t.name
)
each_weighted_type = pytest.mark.parametrize(
    "type", [t for t in QUANTIZED if t not in UNWEIGHTED_ONLY], ids=lambda t: t.name
)


def normal(rows: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, (rows, COLS)).astype(np.float32)


def rows_of_many_kinds(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((14, COLS))
    rows[1] = rng.uniform(-1, 1, COLS)
    rows[2] = np.clip(rng.standard_cauchy(COLS), -1000, 1000)
    rows[3] = np.abs(rows[3])
    rows[4] += 5
    rows[5, rng.integers(0, COLS, 5)] *= 50
    rows[6] *= np.repeat(np.exp(rng.uniform(-6, 3, COLS // 16)), 16)
    rows[7, rng.random(COLS) < 0.9] = 0
    rows[8] *= 1e-6
    rows[9] *= 1e-9
    rows[10] = rows[10, 0]
    rows[11] = np.sign(rows[11])
    rows[12] = rng.integers(-4, 5, COLS)
    rows[13] = 0
    return rows.astype(np.float32)


def failing(type: GGMLType, data: np.ndarray, source: np.ndarray, importance: Importance | None = None) -> np.ndarray:
    error = np.abs(source.astype(np.float64) - decode(type, data, source.shape[1]))
    return ~(error <= allowed_error(type, data, source, importance))


def relative_rms(type: GGMLType, data: np.ndarray, source: np.ndarray) -> float:
    error = source.astype(np.float64) - decode(type, data, source.shape[1])
    return float(np.sqrt(np.mean(error**2) / np.mean(source.astype(np.float64) ** 2)))


@each_type
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_what_ggml_quantizes_is_within_the_bounds(type, seed):
    source = rows_of_many_kinds(seed)
    assert not failing(type, ggml_encode(type, source), source).any()


@each_weighted_type
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), spread=st.sampled_from([0, 1, 3]))
def test_what_ggml_quantizes_with_an_importance_matrix_is_within_the_bounds(type, seed, spread):
    source = rows_of_many_kinds(seed)
    importance = np.exp(np.random.default_rng(seed).normal(0, spread, COLS)).astype(np.float32)
    assert not failing(type, ggml_encode(type, source, importance), source, Importance()).any()


@each_type
@settings(max_examples=30)
@given(
    source=hnp.arrays(np.float32, (1, 256), elements=st.floats(-1000, 1000, width=32, allow_subnormal=False)),
)
def test_any_row_that_ggml_quantizes_is_within_the_bounds(type, source):
    assert not failing(type, ggml_encode(type, source), source).any()


@each_type
def test_what_ggml_quantizes_is_within_the_bound_of_the_whole(type):
    source = normal()
    share = 0.8 if type in BELOW_FOUR_BITS else 0.5
    assert relative_rms(type, ggml_encode(type, source), source) < share * encoding_of(type).largest_rms


@each_type_of_single_levels
def test_another_tensor_of_the_same_kind_is_found_in_many_weights(type):
    share = 0.1 if type in THREE_LEVELS else 0.3
    assert failing(type, ggml_encode(type, normal(seed=1)), normal(seed=2)).mean() > share


@each_type
def test_another_tensor_of_the_same_kind_is_beyond_the_bound_of_the_whole(type):
    least = 1.25 if type is GGMLType.Q1_0 else 1.3  # signs alone leave out what is large in the other
    assert relative_rms(type, ggml_encode(type, normal(seed=1)), normal(seed=2)) > least


@each_type_of_single_levels
def test_two_exchanged_rows_are_found_in_these_rows_only(type):
    source = normal()
    data = ggml_encode(type, source)
    data[[3, 40]] = data[[40, 3]]
    assert np.flatnonzero(failing(type, data, source).any(axis=1)).tolist() == [3, 40]


@each_type_of_single_levels
def test_a_transposed_tensor_is_found(type):
    source = normal(rows=COLS)
    assert failing(type, ggml_encode(type, source.T), source).mean() > (0.1 if type in THREE_LEVELS else 0.3)


@each_type_of_single_levels
def test_a_block_that_was_scaled_wrong_is_found_where_it_is(type):
    source = normal()
    wrong = source.copy()
    wrong[5, 256:] *= 1.5
    assert np.argwhere(failing(type, ggml_encode(type, wrong), source)).min(axis=0).tolist() >= [5, 256]
    assert failing(type, ggml_encode(type, wrong), source)[5, 256:].mean() > 0.1


@each_type_of_single_levels
def test_rows_of_zeros_in_place_of_weights_are_found(type):
    source = normal()
    assert failing(type, ggml_encode(type, np.zeros_like(source)), source).any(axis=1).all()


@each_type_of_single_levels
def test_the_lowest_bit_of_one_code_flipped_is_found(type):
    source = normal(rows=16)
    data = ggml_encode(type, source)
    found = 0
    for row in range(16):
        changed = data.copy()
        changed[row, A_BYTE_OF_CODES[type]] ^= 1
        found += failing(type, changed, source).any()
    assert found >= 14  # a weight halfway between two levels may be either


@pytest.mark.parametrize(
    "type", [t for t in QUANTIZED if t not in SEARCHED_LEVELS | UNWEIGHTED_ONLY | CHOSEN_TOGETHER], ids=lambda t: t.name
)
def test_with_an_importance_matrix_another_tensor_is_found_too(type):
    importance = np.ones(COLS, np.float32)
    assert failing(type, ggml_encode(type, normal(seed=1), importance), normal(seed=2), Importance()).mean() > 0.3


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_scale_that_is_not_finite_is_found(scale):
    source = normal(rows=1)
    data = ggml_encode(GGMLType.Q8_0, source)
    data[0, :2] = np.array([scale], np.float16).view(np.uint8)
    with np.errstate(invalid="ignore"):
        assert failing(GGMLType.Q8_0, data, source)[0, :32].any()
