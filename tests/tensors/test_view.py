"""A view says which rows it takes, and predicts the shape of what becomes of them."""

import numpy as np
import pytest

from deepgguf.tensors.view import View

ROWS = np.arange(24).reshape(12, 2)  # two heads of six rows


def taken(view: View) -> np.ndarray:
    """The view of ROWS by NumPy's own indexing."""
    heads = ROWS.reshape(view.groups, view.group_rows, view.cols)[:, view.start : view.stop]
    return (heads.transpose(0, 2, 1) if view.transposed else heads).reshape(view.shape)


def test_a_whole_tensor_keeps_its_shape_whatever_its_dimensions():
    for shape in [(5,), (3, 4), (2, 3, 4), (8, 3, 14, 14)]:
        view = View.whole(shape)
        assert view.shape == shape
        assert view.elements == np.prod(shape)
        assert view.row_length == shape[-1]


def test_rows_of_every_head_are_a_stack_of_matrices():
    view = View.of_heads((12, 2), 2, 4, 6)
    assert taken(view).tolist() == [[[8, 9], [10, 11]], [[20, 21], [22, 23]]]
    assert (view.taken, view.row_length, view.elements) == (2, 2, 8)


def test_a_transposed_head_has_its_rows_as_columns():
    view = View.of_heads((12, 2), 2, 0, 3, transposed=True)
    assert taken(view).tolist() == [[[0, 2, 4], [1, 3, 5]], [[12, 14, 16], [13, 15, 17]]]
    assert (view.taken, view.row_length, view.elements) == (3, 3, 12)


def test_one_part_of_a_fused_matrix_is_rows_of_a_single_head():
    view = View.of_heads((12, 2), 1, 2, 4).reshaped((2, 2))
    assert taken(view).tolist() == [[4, 5], [6, 7]]


def test_the_last_rows_of_every_head_are_woven_of_two_halves():
    view = View.woven_heads((12, 2), 2, 4)
    assert [view.source_row(row) for row in range(12)] == [0, 1, 2, 4, 3, 5, 6, 7, 8, 10, 9, 11]
    assert (view.shape, view.elements) == ((12, 2), 24)


@pytest.mark.parametrize("shape", [(1, 24), (24,), (4, 3, 2)])
def test_reshaping_changes_nothing_but_the_shape(shape):
    view = View.whole((12, 2)).reshaped(shape)
    assert taken(view).tolist() == ROWS.reshape(shape).tolist()
    assert (view.taken, view.row_length, view.elements) == (12, 2, 24)


def test_heads_of_pairs_for_x_and_y_by_turns_have_all_for_x_and_then_all_for_y():
    view = View.paired_heads((20, 2), head_rows=8, rest=4)
    first = [0, 1, 4, 5, 2, 3, 6, 7]
    assert [view.source_row(row) for row in range(20)] == [*first, *(8 + row for row in first), 16, 17, 18, 19]
    assert view.shape == (20, 2)


def test_biases_of_such_heads_change_places_too():
    view = View.paired_heads((8,), head_rows=4, rest=4)
    assert (view.shape, view.cols, view.row_length) == ((8,), 1, 1)
    assert [view.source_row(row) for row in range(8)] == [0, 1, 2, 3, 4, 5, 6, 7]
