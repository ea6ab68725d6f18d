import argparse

import pytest

from deepgguf.choices import Choices, ConversionChoices, RunChoices, declared
from deepgguf.cli.flags import add_choices, given, in_flags
from deepgguf.errors import UsageError


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_choices(parser, Choices)
    add_choices(parser, RunChoices)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("`split_max_size` is negative", "--split-max-size is negative"),
        ("resume it with `resume=True`, or discard it", "resume it with --resume, or discard it"),
        ('choose `type="bf16"` or `type="f32"`', "choose --type bf16 or --type f32"),
        ("leave out `manifest=False`", "leave out --no-manifest"),
        ("choose `tensor_types` for it", "choose --tensor-type for it"),
        ("give another `output`", "give another --output"),
        ("give `shards=1` or more", "give --shards 1 or more"),
        ("tensor `nothing`: is missing", "tensor `nothing`: is missing"),
    ],
)
def test_a_message_of_the_library_is_said_in_flags(message, said):
    assert in_flags(message) == said


@pytest.mark.parametrize(
    ("where", "found", "said"),
    [
        ("`resume`", "contradicts `restart`", "--resume contradicts --restart; advice"),
        ("`report`", "is a page of one output", "--report is a page of one output; advice"),
        ("`jobs`", "must be at least 1, not 0", "--jobs must be at least 1, not 0; advice"),
        ("`type`", "'q4' is unknown", "--type: 'q4' is unknown; advice"),
        ("x.gguf", "is a symlink", "x.gguf: is a symlink; advice"),
    ],
)
def test_what_is_said_of_a_choice_is_a_sentence_that_begins_with_its_flag(where, found, said):
    assert in_flags(str(UsageError(where, found, "advice"))) == said


def test_every_choice_has_a_flag():
    assert vars(parsed()) == dict.fromkeys(declared(ConversionChoices))


def test_only_what_is_given_is_passed_on():
    options = parsed(
        "--type", "q8_0", "--part", "2", "--tensor-type", "a=q8_0", "--tensor-type", "b=f16", "--no-manifest"
    )
    assert given(options, Choices) == {"type": "q8_0", "part": "2", "tensor_types": ["a=q8_0", "b=f16"]}
    assert given(options, RunChoices) == {"manifest": False}
