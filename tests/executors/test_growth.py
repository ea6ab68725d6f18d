"""How many windows are read ahead follows what the line gives."""

import pytest

from deepgguf.executors.growth import Growth


def limits(bytes_a_second, rounds, start=8, most=32):
    """The limit after each round, on a line that gives that to so many connections."""
    growth, found = Growth(start, most), []
    for _ in range(rounds):
        growth = growth.after(bytes_a_second(growth.limit))
        found.append(growth.limit)
    return found


def test_where_every_connection_brings_as_much_as_the_others_there_are_more_up_to_the_most():
    assert limits(lambda connections: connections * 10.0, 8) == [10, 12, 15, 18, 22, 27, 32, 32]


def test_a_line_that_is_full_is_tried_once_and_again_after_a_rest():
    assert limits(lambda connections: 100.0, 13) == [10, *[8] * 9, 10, 8, 8]


@pytest.mark.parametrize(("full_at", "settled"), [(12, 12), (18, 18)])
def test_it_stays_where_the_line_is_full(full_at, settled):
    assert limits(lambda connections: min(connections, full_at) * 10.0, 30)[-5:].count(settled) >= 4


def test_noise_of_a_tenth_does_not_make_it_grow():
    noise = [1.0, 1.1, 1.0, 0.9]
    growth = Growth(8, 32)
    growth = Growth(8, 32)
    for number in range(40):
        growth = growth.after(noise[number % 4])
        assert growth.limit <= 10


def test_a_line_on_which_others_are_slower_keeps_what_it_had():
    growth = Growth(8, 32).after(100.0)
    assert growth.after(50.0).limit == 8
