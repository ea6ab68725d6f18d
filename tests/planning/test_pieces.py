"""Pieces cover every byte of a tensor and every row of its sources once, in order, whatever the tensor's form."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.encodings import PLAIN
from deepgguf.encodings.bf16 import Bf16
from deepgguf.encodings.fp8 import Fp8
from deepgguf.formats.gguf.types import GGMLType, TensorInfo, block_of
from deepgguf.planning.pieces import Piece, cut, piece_at
from deepgguf.planning.schema import PIECE_WEIGHTS, PlannedTensor
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import View

QUANTIZED = (GGMLType.Q8_0, GGMLType.Q4_0, GGMLType.MXFP4, GGMLType.Q4_K, GGMLType.Q6_K, GGMLType.IQ4_XS)
CUT_ROWS = st.sampled_from([1, 7, 128])
TYPES = st.sampled_from([*sorted(PLAIN), *QUANTIZED])


def planned(rows: View, type: GGMLType, parts: int = 1, cut_rows: int = 1) -> PlannedTensor:
    weights = rows.elements * parts
    nbytes = weights // block_of(type).weights * block_of(type).nbytes
    info = TensorInfo("x", type, (weights // rows.row_length, rows.row_length), 0, nbytes)
    encoding = Bf16() if cut_rows == 1 else Fp8((cut_rows, 128), "F32")
    sources = tuple(SourceTensor(f"{i}", (rows.elements,), encoding, ()) for i in range(parts))
    return PlannedTensor(info, rows, sources, GGMLType.BF16)


@st.composite
def whole_tensors(draw: st.DrawFn) -> PlannedTensor:
    """A matrix, or a stack of them, kept as it is."""
    type = draw(TYPES)
    cols = draw(st.integers(1, 40)) * block_of(type).weights
    return planned(View.whole((draw(st.integers(1, 4000)), cols)), type, draw(st.integers(1, 5)), draw(CUT_ROWS))


@st.composite
def flat_tensors(draw: st.DrawFn) -> PlannedTensor:
    """Rows of one weight, as the plan has unquantized tensors of any shape."""
    elements = draw(st.integers(1, 5 * PIECE_WEIGHTS))
    type = draw(st.sampled_from(sorted(PLAIN)))
    return planned(View(1, elements, 1, 0, elements), type, draw(st.integers(1, 4)), draw(CUT_ROWS))


@st.composite
def split_tensors(draw: st.DrawFn) -> PlannedTensor:
    """The first or the last rows of every head, transposed or not; a transposed head fits in a piece."""
    type, transposed = draw(TYPES), draw(st.booleans())
    block = block_of(type).weights
    length = block * draw(st.integers(1, max(1, 512 // block)))
    other = draw(st.integers(1, 1000))
    taken, cols = (length, other) if transposed else (other, length)
    left = draw(st.integers(0, 300))
    start, stop = draw(st.sampled_from([(0, taken), (left, left + taken)]))
    heads = draw(st.integers(1, 140))
    rows = View.of_heads((heads * (taken + left), cols), heads, start, stop, transposed=transposed)
    return planned(rows, type, cut_rows=draw(CUT_ROWS))


def pieces(tensor: PlannedTensor, piece_weights: int = PIECE_WEIGHTS) -> list[Piece]:
    how = cut(tensor, piece_weights)
    return [piece_at(tensor, how, index) for index in range(how.count)]


TENSORS = st.one_of(whole_tensors(), flat_tensors(), split_tensors())


@given(tensor=TENSORS)
def test_every_byte_is_covered_once_in_order(tensor):
    made = list(pieces(tensor))
    assert [p.offset for p in made] == [0, *accumulate(p.nbytes for p in made)][:-1]
    assert sum(p.nbytes for p in made) == tensor.info.nbytes
    assert min(p.nbytes for p in made) > 0


@given(tensor=TENSORS)
def test_every_source_row_is_covered_once_in_order(tensor):
    """As runs of rows numbered through all groups of all parts: each begins where the one before it ends."""
    rows, next_row = tensor.view, 0
    for piece in pieces(tensor):
        first = (piece.source * rows.groups + piece.group) * rows.taken + piece.row
        assert first == next_row
        assert piece.groups == 1 or (piece.row, piece.rows) == (0, rows.taken)
        assert piece.group + piece.groups <= rows.groups
        assert piece.row + piece.rows <= rows.taken
        next_row = first + piece.groups * piece.rows
    assert next_row == len(tensor.sources) * rows.groups * rows.taken


@given(tensor=TENSORS)
def test_a_piece_is_whole_blocks_and_its_bytes_are_those_of_its_rows(tensor):
    block = block_of(tensor.info.type)
    for piece in pieces(tensor):
        assert piece.offset % block.nbytes == piece.nbytes % block.nbytes == 0
        weights = piece.groups * piece.rows * tensor.view.cols
        assert piece.nbytes * block.weights == weights * block.nbytes


@given(tensor=TENSORS)
def test_no_piece_is_larger_than_the_bound_or_twice_it_for_the_edges_of_fp8_blocks(tensor):
    bound = PIECE_WEIGHTS if isinstance(tensor.sources[0].encoding, Bf16) else 2 * PIECE_WEIGHTS
    assert max(p.groups * p.rows * tensor.view.cols for p in pieces(tensor)) <= bound


@pytest.mark.parametrize("cols", [1, 512, 2048, 7168])
def test_a_matrix_is_cut_at_the_edges_of_fp8_blocks(cols):
    rows = 2 * PIECE_WEIGHTS // cols + 5
    made = list(pieces(planned(View.whole((rows, cols)), GGMLType.BF16, cut_rows=128)))
    assert len(made) > 1
    assert [p.row % 128 for p in made] == [0] * len(made)


@given(tensor=TENSORS, data=st.data())
def test_any_piece_can_be_had_by_its_number_alone(tensor, data):
    how, made = cut(tensor), list(pieces(tensor))
    assert how.count == len(made)
    index = data.draw(st.integers(0, len(made) - 1))
    assert piece_at(tensor, how, index) == made[index]


def test_small_heads_go_together_and_a_transposed_head_is_never_cut():
    k_b = planned(View.of_heads((128 * 256, 512), 128, 0, 128, transposed=True), GGMLType.BF16)
    made = list(pieces(k_b))
    assert {(p.row, p.rows) for p in made} == {(0, 128)}
    assert [p.groups for p in made] == [8] * 16


def test_a_stack_of_v3s_experts_is_cut_within_each_expert():
    stack = planned(View.whole((2048, 7168)), GGMLType.Q4_K, parts=256, cut_rows=128)
    how = cut(stack)
    assert how.per_source == 2048 // 128
    assert how.count == 256 * 16
    last = piece_at(stack, how, how.count - 1)
    assert (last.source, last.row, last.rows) == (255, 1920, 128)
    assert last.offset + last.nbytes == stack.info.nbytes
