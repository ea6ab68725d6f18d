"""The HTML reports of plans, runs and files, written where the caller says."""

import os
from pathlib import Path

from deepgguf.api.gguf_files import inspect
from deepgguf.api.planned import Plan
from deepgguf.choices import StrPath, checked
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.describe import Description
from deepgguf.report.embedded import is_page, read_embedded
from deepgguf.report.facts import ReportFacts
from deepgguf.report.gather import facts_of_file, facts_of_plan
from deepgguf.report.page import comparison_page, environment, report_page
from deepgguf.run.result import Report
from deepgguf.run.whole_text import write_whole
from deepgguf.verification.report import Verification

_PAGE = ".html"


def write_report(
    path: StrPath,
    subject: Plan | Description | StrPath,
    result: Report | Verification | None = None,
    *,
    command: str = "",
) -> None:
    """Writes the page `path` of a plan, or of a GGUF file: a description of it, or its name.

    `result` is what came of it: the report of the plan's run, or the verification of the file. `command` is how it was
    made, for the page to say. The page has all that it needs in itself, and no script.

    Raises UsageError if something else than a page of deepgguf is there or Jinja2 is missing, OutputError if the page
    cannot be written, and what `inspect` raises for a file.
    """
    check_page(path)
    write_whole(Path(path), report_page(_facts(subject, result, command)))


def write_comparison(path: StrPath, first: StrPath, second: StrPath) -> None:
    """Writes the page `path` of how two models differ, each a GGUF file or a report of one.

    Raises what `write_report` raises, and UsageError for a page that is no report.
    """
    check_page(path)
    write_whole(Path(path), comparison_page(_read(first), _read(second)))


@checked
def check_page(report: StrPath) -> None:
    """UsageError unless a page can be written at `report`, for all that is known before the work."""
    environment()
    page = Path(report)
    if page.suffix != _PAGE:
        raise UsageError(page, "is not the name of a page", f"give one that ends with {_PAGE}")
    if not page.parent.is_dir():
        raise UsageError(page.parent, "no such folder", "make it, or name another page")
    taken = os.path.lexists(page)
    if taken and (page.is_symlink() or not page.is_file() or not is_page(page)):
        raise UsageError(page, "exists, and is not a page of deepgguf", "move it away, or name another page")


def _facts(subject: Plan | Description | StrPath, result: Report | Verification | None, command: str) -> ReportFacts:
    if isinstance(subject, Plan) and not isinstance(result, Verification):
        return facts_of_plan(subject, result, command)
    if isinstance(subject, Plan) or isinstance(result, Report):
        found = "a plan goes with the report of its run, a file with its verification"
        raise UsageError("`result`", found, "give that, or leave it out")
    description = subject if isinstance(subject, Description) else inspect(subject)
    return facts_of_file(description, result, command)


def _read(model: StrPath) -> ReportFacts:
    path = Path(model)
    return read_embedded(path) if path.suffix == _PAGE and path.is_file() else facts_of_file(inspect(model))
