"""Q2_K to Q6_K are ggml's to the bit, at every level of this machine."""

from collections.abc import Iterator

import numpy as np
import pytest
from ggml import ggml_quantize
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ours import quantize
from rows import IMPORTANCES, MAKERS, make_importance, make_rows

from deepgguf import kernels
from deepgguf.gguf.types import GGMLType, row_bytes

TYPES = [GGMLType.Q2_K, GGMLType.Q3_K, GGMLType.Q4_K, GGMLType.Q5_K, GGMLType.Q6_K]

# `level` is the same for all examples of a test, so it need not be set up again for each.
many = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32 - 1)
any_type = pytest.mark.parametrize("type", TYPES, ids=lambda type: type.name)


@pytest.fixture(params=kernels.levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.active()
    yield kernels.select(request.param)
    kernels.select(before)


def assert_same_blocks(
    type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None = None
) -> None:
    np.testing.assert_array_equal(quantize(type, rows, importance), ggml_quantize(type, rows, importance))


@any_type
@pytest.mark.parametrize("kind", MAKERS)
def test_rows_of_every_kind_become_ggmls_blocks(type: GGMLType, kind: str, level: str) -> None:
    assert_same_blocks(type, make_rows(kind, 1, 24, 768))


@any_type
@pytest.mark.parametrize("kind", MAKERS)
def test_rows_of_every_kind_with_importance_become_ggmls_blocks(type: GGMLType, kind: str, level: str) -> None:
    rows = make_rows(kind, 2, 6, 768)
    for importance in IMPORTANCES:
        assert_same_blocks(type, rows, make_importance(importance, 3, 768))


@any_type
@many
@given(kind=st.sampled_from(list(MAKERS)), seed=seeds, rows=st.integers(1, 5), blocks=st.integers(1, 9))
def test_any_rows_become_ggmls_blocks(type: GGMLType, level: str, kind: str, seed: int, rows: int, blocks: int) -> None:
    assert_same_blocks(type, make_rows(kind, seed, rows, 256 * blocks))


@any_type
@many
@given(
    kind=st.sampled_from(list(MAKERS)),
    importance=st.sampled_from(list(IMPORTANCES)),
    seed=seeds,
    rows=st.integers(1, 5),
    blocks=st.integers(1, 5),
)
def test_any_rows_with_any_importance_become_ggmls_blocks(
    type: GGMLType, level: str, kind: str, importance: str, seed: int, rows: int, blocks: int
) -> None:
    cols = 256 * blocks
    assert_same_blocks(type, make_rows(kind, seed, rows, cols), make_importance(importance, seed, cols))


@any_type
@many
@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40), seed=seeds)
def test_few_arbitrary_floats_in_any_order_become_ggmls_blocks(
    type: GGMLType, level: str, values: list[float], seed: int
) -> None:
    rows = np.random.default_rng(seed).choice(np.array(values, np.float32), (2, 512))
    assert_same_blocks(type, rows)
    assert_same_blocks(type, rows, np.abs(rows[0]))


def test_a_scale_fitted_below_zero_wraps_into_the_next_ones_bits(level: str) -> None:
    rows, importance = make_rows("mixed magnitudes", 816, 8, 1024), make_importance("half zero", 816, 1024)
    scales = ggml_quantize(GGMLType.Q4_K, rows, importance).reshape(-1, 144)[:, 4:8]
    assert (scales == 255).any()
    assert_same_blocks(GGMLType.Q4_K, rows, importance)


@any_type
def test_every_column_keeps_its_own_importance_in_every_row(type: GGMLType, level: str) -> None:
    rows, importance = make_rows("normal", 4, 7, 768), make_importance("squares", 5, 768)
    alone = [quantize(type, row[None], importance) for row in rows]
    np.testing.assert_array_equal(quantize(type, rows, importance), np.concatenate(alone))


@any_type
def test_nothing_beyond_the_last_block_is_written(type: GGMLType, level: str) -> None:
    rows = make_rows("normal", 6, 1, 256)
    nbytes = row_bytes(type, 256)
    out = np.full(nbytes + 64, 0xAB, np.uint8)
    kernels.quantize(rows.reshape(-1), 256, int(type), None, out[:nbytes], nbytes)
    assert (out[nbytes:] == 0xAB).all()
