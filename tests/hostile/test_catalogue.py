"""CATALOGUE.md and the tests of this folder name the same rows."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
CATALOGUE = (FOLDER / "CATALOGUE.md").read_text()


def catalogued() -> dict[int, set[str]]:
    """The test files that the catalogue gives for each row."""
    lines = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", CATALOGUE, re.MULTILINE)
    return {int(row): set(re.findall(r"`(test_\w+\.py)`", files)) for row, files in lines}


def rows_of_tests() -> dict[int, set[str]]:
    """The test files that have a test, or a parameter of one, named after each row."""
    rows: dict[int, set[str]] = {}
    for path in FOLDER.glob("test_*.py"):
        for row in re.findall(r'(?:^def test_|")row_(\d+)_[a-z]', path.read_text(), re.MULTILINE):
            rows.setdefault(int(row), set()).add(path.name)
    return rows


def not_covered() -> set[int]:
    """The rows that the catalogue gives a reason for leaving out."""
    ranges = re.findall(r"^Rows (\d+) to (\d+) are not covered: \w", CATALOGUE, re.MULTILINE)
    return {row for first, last in ranges for row in range(int(first), int(last) + 1)}


def test_every_row_is_tested_in_the_files_that_the_catalogue_gives():
    assert rows_of_tests() == catalogued()


def test_every_number_is_a_row_or_is_said_not_to_be_covered():
    rows = catalogued().keys() | not_covered()
    assert rows == set(range(1, max(rows) + 1))
    assert catalogued().keys() & not_covered() == set()


def test_rows_are_listed_once_in_order():
    rows = [int(row) for row in re.findall(r"^\| (\d+) \|", CATALOGUE, re.MULTILINE)]
    assert rows == sorted(set(rows))
