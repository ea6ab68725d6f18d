"""How commands end that fail."""

import gc

import pytest

from deepgguf.cli.arguments import parse
from deepgguf.cli.endings import ending
from deepgguf.errors import DeepggufError, UsageError


def test_an_error_of_no_kind_is_told_with_the_status_of_a_bug():
    assert ending(DeepggufError("a.gguf", "is odd", "leave out `type`")) == (70, "a.gguf: is odd; leave out --type")


def test_garbage_is_collected_again_after_a_plan_that_fails(tmp_path):
    options = parse(["plan", str(tmp_path / "nothing")])
    with pytest.raises(UsageError):
        options.run(options)
    assert gc.isenabled()
