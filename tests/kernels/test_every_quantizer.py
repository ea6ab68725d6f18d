"""Every quantizer's blocks are bit-identical to ggml's, at every level of this machine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ours import assert_same_blocks_at_every_level, quantizable, quantize
from rows import IMPORTANCES, MAKERS, make_importance, make_rows

from deepgguf import kernels
from deepgguf.formats.gguf.types import GGMLType, block_of, row_bytes

many = settings(deadline=None, max_examples=50)
some = settings(deadline=None, max_examples=20)  # half of these end ggml, which then has to be started anew
seeds = st.integers(0, 2**32 - 1)
any_type = pytest.mark.parametrize("type", quantizable(), ids=lambda type: type.name)
unweighted = pytest.mark.parametrize("type", quantizable(importance=False), ids=lambda type: type.name)


def signed_ties(largest: float) -> NDArray[np.float32]:
    """Blocks with two weights of the largest magnitude, of both signs, in every order and at several places."""
    rows = np.random.default_rng(0).uniform(-largest / 2, largest / 2, (16, 256)).astype(np.float32)
    for i, row in enumerate(rows):
        for block in row.reshape(-1, 32):
            block[i], block[31 - i] = largest, -largest
    return rows


@unweighted
@pytest.mark.parametrize("kind", MAKERS)
def test_rows_of_every_kind_become_ggmls_blocks(type: GGMLType, kind: str) -> None:
    assert_same_blocks_at_every_level(type, make_rows(kind, 1, 24, 768))


@any_type
@pytest.mark.parametrize("kind", MAKERS)
def test_rows_of_every_kind_with_importance_become_ggmls_blocks(type: GGMLType, kind: str) -> None:
    rows = make_rows(kind, 2, 3, 512)
    for importance in IMPORTANCES:
        assert_same_blocks_at_every_level(type, rows, make_importance(importance, 3, 512))


@unweighted
@many
@given(kind=st.sampled_from(list(MAKERS)), seed=seeds, rows=st.integers(1, 5), blocks=st.integers(1, 9))
def test_any_rows_become_ggmls_blocks(type: GGMLType, kind: str, seed: int, rows: int, blocks: int) -> None:
    assert_same_blocks_at_every_level(type, make_rows(kind, seed, rows, block_of(type).weights * blocks))


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
    type: GGMLType, kind: str, importance: str, seed: int, rows: int, blocks: int
) -> None:
    cols = block_of(type).weights * blocks
    assert_same_blocks_at_every_level(type, make_rows(kind, seed, rows, cols), make_importance(importance, seed, cols))


@any_type
@some
@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40), seed=seeds)
def test_few_arbitrary_floats_in_any_order_become_ggmls_blocks(type: GGMLType, values: list[float], seed: int) -> None:
    rows = np.random.default_rng(seed).choice(np.array(values, np.float32), (2, 512))
    if type in quantizable(importance=False):
        assert_same_blocks_at_every_level(type, rows)
    assert_same_blocks_at_every_level(type, rows, np.abs(rows[0]))


@any_type
def test_of_two_largest_weights_the_first_decides(type: GGMLType) -> None:
    if type in quantizable(importance=False):
        assert_same_blocks_at_every_level(type, signed_ties(1.5))
    assert_same_blocks_at_every_level(type, signed_ties(1.5), make_importance("squares", 4, 256))


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
    kernels.quantize(rows.reshape(-1), 256, int(type), np.ones(256, np.float32), out[:nbytes], nbytes)
    assert (out[nbytes:] == 0xAB).all()


@pytest.mark.parametrize("type", sorted(set(quantizable()) - set(quantizable(importance=False))), ids=lambda t: t.name)
def test_a_type_that_needs_importance_is_refused_without(type: GGMLType, level: str) -> None:
    with pytest.raises(ValueError, match="needs importance"):
        quantize(type, make_rows("normal", 7, 1, 256))
