"""Pieces cover every byte of a tensor and every row of its sources once, in order, whatever the tensor's form."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.checkpoint.shards import SourceTensor
from deepgguf.formats.gguf.types import BLOCKS, PLAIN, GGMLType, TensorInfo
from deepgguf.planning.pieces import cut, piece_at, pieces
from deepgguf.planning.schema import PIECE_WEIGHTS, Part, PlannedTensor
from deepgguf.tensors.view import View, keep, split_heads

QUANTIZED = (GGMLType.Q8_0, GGMLType.Q4_0, GGMLType.MXFP4, GGMLType.Q4_K, GGMLType.Q6_K, GGMLType.IQ4_XS)
TYPES = st.sampled_from([*sorted(PLAIN), *QUANTIZED])


def planned(rows: View, type: GGMLType, parts: int = 1) -> PlannedTensor:
    weights = rows.elements * parts
    nbytes = weights // BLOCKS[type].weights * BLOCKS[type].nbytes
    info = TensorInfo("x", type, (weights // rows.row_length, rows.row_length), 0, nbytes)
    sources = tuple(Part(SourceTensor(f"{i}", 0, "BF16", (rows.elements,), 0, 2 * rows.elements)) for i in range(parts))
    return PlannedTensor(info, "BF16", rows, sources, GGMLType.BF16)


@st.composite
def whole_tensors(draw: st.DrawFn) -> PlannedTensor:
    """A matrix, or a stack of them, kept as it is."""
    type = draw(TYPES)
    cols = draw(st.integers(1, 40)) * BLOCKS[type].weights
    return planned(keep((draw(st.integers(1, 4000)), cols)), type, draw(st.integers(1, 5)))


@st.composite
def flat_tensors(draw: st.DrawFn) -> PlannedTensor:
    """Rows of one weight, as the plan has unquantized tensors of any shape."""
    elements = draw(st.integers(1, 5 * PIECE_WEIGHTS))
    return planned(View(1, elements, 1, 0, elements), draw(st.sampled_from(sorted(PLAIN))), draw(st.integers(1, 4)))


@st.composite
def split_tensors(draw: st.DrawFn) -> PlannedTensor:
    """The first or the last rows of every head, transposed or not; a transposed head fits in a piece."""
    type, transposed = draw(TYPES), draw(st.booleans())
    block = BLOCKS[type].weights
    length = block * draw(st.integers(1, max(1, 512 // block)))
    other = draw(st.integers(1, 1000))
    taken, cols = (length, other) if transposed else (other, length)
    left = draw(st.integers(0, 300))
    start, stop = draw(st.sampled_from([(0, taken), (left, left + taken)]))
    heads = draw(st.integers(1, 140))
    rows = split_heads((heads * (taken + left), cols), heads, start, stop, transposed=transposed)
    return planned(rows, type)


TENSORS = st.one_of(whole_tensors(), flat_tensors(), split_tensors())
BLOCK_ROWS = st.sampled_from([1, 7, 128])


@given(tensor=TENSORS, block_rows=BLOCK_ROWS)
def test_every_byte_is_covered_once_in_order(tensor, block_rows):
    made = list(pieces(tensor, block_rows))
    assert [p.offset for p in made] == [0, *accumulate(p.nbytes for p in made)][:-1]
    assert sum(p.nbytes for p in made) == tensor.info.nbytes
    assert min(p.nbytes for p in made) > 0


@given(tensor=TENSORS, block_rows=BLOCK_ROWS)
def test_every_source_row_is_covered_once_in_order(tensor, block_rows):
    """As runs of rows numbered through all groups of all parts: each begins where the one before it ends."""
    rows, next_row = tensor.rows, 0
    for piece in pieces(tensor, block_rows):
        first = (piece.part * rows.groups + piece.group) * rows.taken + piece.row
        assert first == next_row
        assert piece.groups == 1 or (piece.row, piece.rows) == (0, rows.taken)
        assert piece.group + piece.groups <= rows.groups
        assert piece.row + piece.rows <= rows.taken
        next_row = first + piece.groups * piece.rows
    assert next_row == len(tensor.parts) * rows.groups * rows.taken


@given(tensor=TENSORS, block_rows=BLOCK_ROWS)
def test_a_piece_is_whole_blocks_and_its_bytes_are_those_of_its_rows(tensor, block_rows):
    block = BLOCKS[tensor.info.type]
    for piece in pieces(tensor, block_rows):
        assert piece.offset % block.nbytes == piece.nbytes % block.nbytes == 0
        weights = piece.groups * piece.rows * tensor.rows.cols
        assert piece.nbytes * block.weights == weights * block.nbytes


@given(tensor=TENSORS)
def test_no_piece_is_larger_than_the_bound(tensor):
    assert max(p.groups * p.rows * tensor.rows.cols for p in pieces(tensor)) <= PIECE_WEIGHTS


@given(tensor=TENSORS)
def test_the_edges_of_fp8_blocks_cost_at_most_twice_the_bound(tensor):
    assert max(p.groups * p.rows * tensor.rows.cols for p in pieces(tensor, 128)) <= 2 * PIECE_WEIGHTS


@pytest.mark.parametrize("cols", [1, 512, 2048, 7168])
def test_a_matrix_is_cut_at_the_edges_of_fp8_blocks(cols):
    rows = 2 * PIECE_WEIGHTS // cols + 5
    made = list(pieces(planned(keep((rows, cols)), GGMLType.BF16), 128))
    assert len(made) > 1
    assert [p.row % 128 for p in made] == [0] * len(made)


@given(tensor=TENSORS, block_rows=BLOCK_ROWS, data=st.data())
def test_any_piece_can_be_had_by_its_number_alone(tensor, block_rows, data):
    how, made = cut(tensor, block_rows), list(pieces(tensor, block_rows))
    assert how.count == len(made)
    index = data.draw(st.integers(0, len(made) - 1))
    assert piece_at(tensor, how, index) == made[index]


def test_small_heads_go_together_and_a_transposed_head_is_never_cut():
    k_b = planned(split_heads((128 * 256, 512), 128, 0, 128, transposed=True), GGMLType.BF16)
    made = list(pieces(k_b))
    assert {(p.row, p.rows) for p in made} == {(0, 128)}
    assert [p.groups for p in made] == [8] * 16


def test_a_stack_of_v3s_experts_is_cut_within_each_expert():
    stack = planned(keep((2048, 7168)), GGMLType.Q4_K, parts=256)
    how = cut(stack, 128)
    assert how.per_part == 2048 // 128
    assert how.count == 256 * 16
    last = piece_at(stack, how, how.count - 1)
    assert (last.part, last.row, last.rows) == (255, 1920, 128)
    assert last.offset + last.nbytes == stack.info.nbytes
