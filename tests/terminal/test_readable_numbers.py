import pytest

from deepgguf.choices import parse_size
from deepgguf.terminal.sizes import count, duration, size


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (768, "768 B"), (3072, "3.07 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (689e9, "689 GB"),
     (1_342_300_000_000, "1.34 TB"), (20.4e6, "20.4 MB")],
)  # fmt: skip
def test_bytes_have_three_digits_and_a_decimal_unit(nbytes, text):
    assert size(nbytes) == text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (544, "544"), (5450, "5.45K"), (15_706_484_224, "15.7B"), (671_026_419_200, "671B")]
)
def test_parameters_are_counted_as_models_are_named(number, text):
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.94, "9.9 s"), (42.4, "42 s"), (185, "3 min 5 s"), (4330, "1 h 12 min")]
)
def test_durations_have_two_units_at_most(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "nbytes"), [("1.2T", 1_200_000_000_000), ("1T", 10**12), ("48G", 48 * 10**9), ("0.5K", 500), (7, 7)]
)
def test_a_size_may_have_a_unit_up_to_t_and_decimals(text, nbytes):
    assert parse_size(text) == nbytes
