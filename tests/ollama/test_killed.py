"""Killed before every call that writes or speaks to the server, and done again: the same model, and never half of one.

The other cases, which take a minute, are those of `python killing.py`.
"""

import pytest
from killing import every_step, make_case, server_of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "way"),
    [("one file", "store"), ("one file", "api"), ("a split set", "store"), ("a file that is there", "api")],
)
def test_whichever_step_is_the_last_the_next_run_makes_the_model(tmp_path, what, way):
    case = make_case(what, way, tmp_path)
    with server_of(case.models) as address:
        assert every_step(case, address) > (20 if way == "store" else 5)
