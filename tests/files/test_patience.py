from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from deepgguf.files.network.patience import Patience, asked_for


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": " 7 "}, 7),
        ({"Retry-After": "Thu, 01 Jan 2026 00:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55),
        ({"RateLimit": '"api";r=3;t=55'}, None),
        ({"RateLimit": '"api";r=3;t=5, "resolvers";r=0;t=9'}, 9),
        ({"RateLimit": ";;=,"}, None),
        ({}, None),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(headers, seconds):
    assert asked_for(headers) == seconds


def test_a_date_is_that_many_seconds_away():
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3500 < (asked_for({"Retry-After": later}) or 0) <= 3600


def test_waits_double_up_to_the_longest_and_differ():
    patience = Patience(first=1, longest=10)
    waits = [[patience.wait(failures, None) for _ in range(50)] for failures in range(1, 7)]
    for each, most in zip(waits, (1, 2, 4, 8, 10, 10), strict=True):
        assert most / 2 <= min(each) < max(each) <= most


def test_what_a_server_wants_is_waited_for_up_to_a_bound():
    patience = Patience(first=1, longest=10, asked=60)
    assert 40 < patience.wait(1, 40) <= 41
    assert 60 < patience.wait(1, 3600) <= 61


def test_what_comes_fast_is_waited_for_by_larger_slices_and_what_comes_slowly_by_the_least():
    patience = Patience(stall=30, slice=100, most=350)
    assert [patience.next_slice(nbytes, 0.01) for nbytes in (100, 200, 350)] == [200, 350, 350]
    assert patience.next_slice(350, 0.6) == 100
