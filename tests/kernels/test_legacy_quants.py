"""The types with blocks of 32, and IQ4_XS, are ggml's to the bit, at every level of this machine."""

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
from deepgguf.gguf.types import BLOCKS, GGMLType, row_bytes

TYPES = [
    GGMLType.Q4_0,
    GGMLType.Q4_1,
    GGMLType.Q5_0,
    GGMLType.Q5_1,
    GGMLType.Q8_0,
    GGMLType.IQ4_NL,
    GGMLType.IQ4_XS,
    GGMLType.MXFP4,
]

# `level` is the same for all examples of a test, so it need not be set up again for each.
many = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def signed_ties(largest: float) -> NDArray[np.float32]:
    """Blocks with two weights of the largest magnitude, of both signs, in every order and at several places."""
    rows = np.random.default_rng(0).uniform(-largest / 2, largest / 2, (16, 256)).astype(np.float32)
    for i, row in enumerate(rows):
        for block in row.reshape(-1, 32):
            block[i], block[31 - i] = largest, -largest
    return rows


@any_type
@pytest.mark.parametrize("kind", MAKERS)
def test_rows_of_every_kind_become_ggmls_blocks(type: GGMLType, kind: str, level: str) -> None:
    assert_same_blocks(type, make_rows(kind, 1, 12, 768))


@any_type
@pytest.mark.parametrize("kind", MAKERS)
def test_rows_of_every_kind_with_importance_become_ggmls_blocks(type: GGMLType, kind: str, level: str) -> None:
    rows = make_rows(kind, 2, 3, 768)
    for importance in IMPORTANCES:
        assert_same_blocks(type, rows, make_importance(importance, 3, 768))


@any_type
@many
@given(kind=st.sampled_from(list(MAKERS)), seed=seeds, rows=st.integers(1, 5), blocks=st.integers(1, 9))
def test_any_rows_become_ggmls_blocks(type: GGMLType, level: str, kind: str, seed: int, rows: int, blocks: int) -> None:
    assert_same_blocks(type, make_rows(kind, seed, rows, BLOCKS[type].weights * blocks))


@any_type
@many
@given(
    kind=st.sampled_from(list(MAKERS)),
    importance=st.sampled_from(list(IMPORTANCES)),
    seed=seeds,
    rows=st.integers(1, 20),
    blocks=st.integers(1, 3),
)
def test_any_rows_with_any_importance_become_ggmls_blocks(
    type: GGMLType, level: str, kind: str, importance: str, seed: int, rows: int, blocks: int
) -> None:
    cols = BLOCKS[type].weights * blocks
    assert_same_blocks(type, make_rows(kind, seed, rows, cols), make_importance(importance, seed, cols))


@any_type
@many
@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40), seed=seeds)
def test_few_arbitrary_floats_in_any_order_become_ggmls_blocks(
    type: GGMLType, level: str, values: list[float], seed: int
) -> None:
    rows = np.random.default_rng(seed).choice(np.array(values, np.float32), (2, 256))
    assert_same_blocks(type, rows)
    assert_same_blocks(type, rows, np.abs(rows[0]))


@any_type
def test_of_two_largest_weights_the_first_decides(type: GGMLType, level: str) -> None:
    assert_same_blocks(type, signed_ties(1.5))
    assert_same_blocks(type, signed_ties(1.5), make_importance("squares", 4, 256))


@any_type
def test_every_column_keeps_its_own_importance_in_every_row(type: GGMLType, level: str) -> None:
    rows, importance = make_rows("normal", 4, 19, 768), make_importance("squares", 5, 768)
    alone = [quantize(type, row[None], importance) for row in rows]
    np.testing.assert_array_equal(quantize(type, rows, importance), np.concatenate(alone))


@any_type
def test_nothing_beyond_the_last_block_is_written(type: GGMLType, level: str) -> None:
    rows = make_rows("normal", 6, 1, 256)
    nbytes = row_bytes(type, 256)
    out = np.full(nbytes + 64, 0xAB, np.uint8)
    kernels.quantize(rows.reshape(-1), 256, int(type), None, out[:nbytes], nbytes)
    assert (out[nbytes:] == 0xAB).all()


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
