"""The knapsack: what fits, what is least, and what it never exceeds."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.formats.gguf.types import GGMLType
from deepgguf.recipes.budget import Candidate, bytes_of, choose_within, error_of, hull, smallest

types = st.sampled_from([GGMLType.Q4_0, GGMLType.Q8_0])
one = st.builds(Candidate, types, st.integers(1, 60), st.integers(0, 90).map(float), st.just(0.0))
tensors = st.lists(st.lists(one, min_size=1, max_size=4), min_size=1, max_size=4).map(
    lambda lists: {f"tensor {i}": found for i, found in enumerate(lists)}
)


def at(nbytes: int, error: float) -> Candidate:
    return Candidate(GGMLType.Q8_0, nbytes, error)


def every_choice(candidates):
    return [dict(zip(candidates, chosen, strict=True)) for chosen in product(*candidates.values())]


@given(tensors, st.integers(0, 200))
def test_the_choice_fits_and_is_within_one_step_of_the_least(candidates, more):
    budget = bytes_of(smallest(candidates)) + more
    chosen = choose_within(candidates, budget)
    least = min(error_of(each) for each in every_choice(candidates) if bytes_of(each) <= budget)
    steps = [
        a.error - b.error for found in candidates.values() for a, b in zip(hull(found), hull(found)[1:], strict=False)
    ]
    assert bytes_of(chosen) <= budget
    assert least <= error_of(chosen) <= least + max(steps, default=0)


@given(tensors, st.integers(0, 200), st.randoms(use_true_random=False))
def test_no_other_choice_that_fits_and_is_given_has_a_smaller_error(candidates, more, random):
    budget = bytes_of(smallest(candidates)) + more
    others = random.choices(every_choice(candidates), k=3)
    chosen = choose_within(candidates, budget, others)
    assert bytes_of(chosen) <= budget
    assert all(error_of(chosen) <= error_of(other) for other in others if bytes_of(other) <= budget)


@given(tensors, st.integers(0, 200))
def test_a_larger_budget_for_everything_takes_the_least_error_of_every_tensor(candidates, more):
    chosen = choose_within(candidates, 10_000 + more)
    assert {name: each.error for name, each in chosen.items()} == {
        name: min(each.error for each in found) for name, found in candidates.items()
    }


def test_squares_are_no_larger_than_another_choice_s_where_that_can_be():
    candidates = {
        "small": [Candidate(GGMLType.Q4_0, 10, 4.0, 4.0), Candidate(GGMLType.Q8_0, 20, 1.0, 1.0)],
        "large": [Candidate(GGMLType.Q4_0, 100, 4.0, 90.0), Candidate(GGMLType.Q5_0, 110, 3.9, 80.0)],
    }
    other = {"small": candidates["small"][0], "large": candidates["large"][1]}
    freely, bound = choose_within(candidates, 120), choose_within(candidates, 120, [other])
    assert freely["small"].type is GGMLType.Q8_0
    assert bound == other


def test_bytes_go_where_each_saves_most():
    chosen = choose_within({"a": [at(10, 8.0), at(20, 6.0)], "b": [at(10, 8.0), at(20, 1.0)]}, 30)
    assert chosen == {"a": at(10, 8.0), "b": at(20, 1.0)}


def test_what_is_left_goes_to_a_change_that_fits():
    chosen = choose_within({"a": [at(10, 8.0), at(30, 1.0), at(12, 7.0)]}, 15)
    assert chosen == {"a": at(12, 7.0)}


def test_of_two_with_as_many_bytes_the_better_is_the_smallest():
    assert smallest({"a": [at(10, 8.0), at(10, 2.0)]}) == {"a": at(10, 2.0)}


def test_a_budget_below_the_smallest_is_an_error():
    with pytest.raises(ValueError, match="the smallest types have more than 9 bytes"):
        choose_within({"a": [at(10, 8.0)]}, 9)


def test_a_hull_leaves_out_what_a_line_between_two_others_beats():
    assert hull([at(10, 8.0), at(20, 7.9), at(30, 1.0), at(40, 2.0)]) == [at(10, 8.0), at(30, 1.0)]
