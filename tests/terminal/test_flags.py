import argparse

import pytest

from deepgguf.choices import Choices, ConversionChoices, RunChoices, declared
from deepgguf.cli.flags import add_choices, given, in_flags


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_choices(parser, Choices)
    add_choices(parser, RunChoices)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("`split_max_size`: is negative", "--split-max-size: is negative"),
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


def test_every_choice_has_a_flag():
    assert vars(parsed()) == dict.fromkeys(declared(ConversionChoices))


def test_only_what_is_given_is_passed_on():
    options = parsed(
        "--type", "q8_0", "--part", "2", "--tensor-type", "a=q8_0", "--tensor-type", "b=f16", "--no-manifest"
    )
    assert given(options, Choices) == {"type": "q8_0", "part": "2", "tensor_types": ["a=q8_0", "b=f16"]}
    assert given(options, RunChoices) == {"manifest": False}
