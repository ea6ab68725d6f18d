"""Weights on the borders between the levels of IQ4_NL and IQ4_XS, at the start and along the search for a scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from ours import assert_same_blocks_at_every_level, quantize
from rows import make_importance

from deepgguf.formats.gguf.types import GGMLType

# kvalues_iq4nl (ggml-common.h), and what lies halfway between them.
LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
BORDERS = (LEVELS[1:] + LEVELS[:-1]) / 2

any_type = pytest.mark.parametrize("type", [GGMLType.IQ4_NL, GGMLType.IQ4_XS], ids=lambda type: type.name)
many = settings(deadline=None, max_examples=60)


def around(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values and the floats next to them."""
    down, up = np.float32(-np.inf), np.float32(np.inf)
    return np.concatenate([values, np.nextafter(values, down), np.nextafter(values, up)])


def rows_of(values: NDArray[np.float32], largest: float, seed: int) -> NDArray[np.float32]:
    """Rows of 256 drawn from the values, `largest` once in every block."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(values, (32, 256)).astype(np.float32)
    rows[:, rng.integers(32) :: 32] = largest
    return rows


@any_type
@pytest.mark.parametrize("largest", [127.0, -127.0])
def test_weights_on_the_borders_go_to_ggmls_side(type: GGMLType, largest: float) -> None:
    rows = rows_of(around(np.concatenate([BORDERS, -BORDERS])), largest, 0)
    assert_same_blocks_at_every_level(type, rows)
    assert_same_blocks_at_every_level(type, rows, make_importance("squares", 1, 256))


@any_type
@many
@given(
    magnitude=st.floats(2.0**-40, 2.0**40, width=32),
    negative=st.booleans(),
    steps=st.sets(st.integers(120, 134), min_size=1),
    seed=st.integers(0, 2**32 - 1),
)
def test_weights_that_reach_a_border_at_one_of_the_candidates_go_to_ggmls_side(
    type: GGMLType, magnitude: float, negative: bool, steps: set[int], seed: int
) -> None:
    largest = np.float32(-magnitude if negative else magnitude)
    scales = np.array(sorted(steps), np.float32)
    values = around((BORDERS[:, None] * -largest / scales).reshape(-1).astype(np.float32))
    values = values[np.abs(values) <= abs(largest)]
    rows = rows_of(values, float(largest), seed)[:4]
    assert_same_blocks_at_every_level(type, rows)
    assert_same_blocks_at_every_level(type, rows, make_importance("random", seed, 256))


@any_type
def test_weights_of_zero_take_the_level_of_one(type: GGMLType, level: str) -> None:
    block = quantize(type, np.zeros((1, 256), np.float32))[0]
    quants = block[2:18] if type == GGMLType.IQ4_NL else block[8:]
    assert LEVELS[8] == 1
    assert (quants == 0x88).all()
    assert block[:2].tolist() == [0x00, 0x80 if type == GGMLType.IQ4_XS else 0x00]
