"""What a command writes besides its files: the HTML report, the model card. What stands in their way is said before."""

import argparse
from typing import TYPE_CHECKING

from deepgguf.cli.output import complain, to_stdout
from deepgguf.errors import UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deepgguf.api.planned import Plan
    from deepgguf.formats.gguf.describe import Description
    from deepgguf.run.address import Place
    from deepgguf.run.result import Report
    from deepgguf.verification.report import Verification

_REPOSITORIES = ("published_as", "base_model")
_ADVICE = {"base_model": "say which model it is of: --base-model ORGANIZATION/NAME"}


def check_pages(options: argparse.Namespace, folder: "Place | None" = None) -> None:
    """UsageError unless what is asked for can be written; `folder` is where a model card goes, if that is known yet."""
    if options.report is not None:
        from deepgguf.report.write import check_page

        check_page(options.report)
    if getattr(options, "card", False):
        if folder is not None:
            from deepgguf.publishing.write import check_card

            check_card(folder, **_repositories(options))
    elif named := next((name for name in _REPOSITORIES if getattr(options, name, None) is not None), None):
        raise UsageError(f"`{named}`", "has no meaning without `card`", "give that too")


def write_pages(
    options: argparse.Namespace,
    subject: "Plan | Description | str",
    result: "Report | Verification | None" = None,
) -> None:
    """The report, if one was asked for."""
    if options.report is None:
        return
    from deepgguf.report.write import write_report

    write_report(options.report, subject, result, command=options.line)
    _say(options, options.report)


def write_model_cards(options: argparse.Namespace, made: "Iterable[tuple[Plan, Report]]") -> None:
    """The cards, if they were asked for: one in each folder, of all that was made there."""
    if not options.card:
        return
    from deepgguf.publishing.write import write_card

    repositories = _repositories(options)
    cards = dict(write_card(plan, report, **repositories, command=options.line) for plan, report in made)
    for path, lacks in cards.items():
        _say(options, path)
        for name in lacks:
            advice = _ADVICE.get(name, "the checkpoint's own card names none")
            complain(f"{printable(path)}: its head has no {name}; {advice}")


def report(options: argparse.Namespace) -> None:
    """`deepgguf report`."""
    from pathlib import Path

    from deepgguf.report.write import write_comparison, write_report

    if len(options.files) > 2:
        raise UsageError(
            "FILE", f"{len(options.files)} files are given, and only two can be compared", "give one or two"
        )
    names = [Path(file).name.removesuffix(".gguf").removesuffix(".html") for file in options.files]
    page = options.output or f"{'-and-'.join(names)}.html"
    if len(options.files) == 1:
        write_report(page, options.files[0], command=options.line)
    else:
        write_comparison(page, *options.files)
    to_stdout(f"wrote {printable(page)}\n")


def _repositories(options: argparse.Namespace) -> dict[str, str | None]:
    return {name: getattr(options, name) for name in _REPOSITORIES}


def _say(options: argparse.Namespace, path: object) -> None:
    if not options.json:
        to_stdout(f"wrote {printable(path)}\n")
