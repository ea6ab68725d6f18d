"""The commands where they make several outputs at once."""

import argparse
from typing import TYPE_CHECKING, Any

import deepgguf
from deepgguf.choices import Choices, QuantizeChoices
from deepgguf.cli.executors import executor_of
from deepgguf.cli.flags import given, named
from deepgguf.cli.output import print_json, print_page, warn
from deepgguf.cli.pages import check_pages, write_model_cards
from deepgguf.cli.planned import several_planned
from deepgguf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepgguf.api.planned import Plan
    from deepgguf.run.file_job import Placed


def are_asked_for(options: argparse.Namespace) -> bool:
    """Whether the arguments name several outputs, or a folder for each."""
    many = any(len(named(options, name)) > 1 for name in ("type", "target"))
    return many or options.layout is not None


def refuse_for_ollama(options: argparse.Namespace) -> None:
    """UsageError if several outputs are to become one model of Ollama's."""
    if are_asked_for(options):
        found = "makes one model, and several outputs are asked for"
        raise UsageError("`ollama`", found, "make them, then bring each in: `deepgguf ollama import FILE.gguf NAME`")


def planned(options: argparse.Namespace) -> "tuple[Plan, ...]":
    """The plans of converting that the arguments ask for."""
    _refuse_a_report(options)
    several = {"types": named(options, "type"), "targets": named(options, "target")}
    choices = _without(given(options, Choices), "type", "target")
    how = _layout(options) | {"cache": options.cache} | several
    return several_planned(lambda: deepgguf.plan_several(options.source, options.output, **how, **choices))


def planned_quantize(options: argparse.Namespace) -> "tuple[Plan, ...]":
    """The plans of quantizing."""
    _refuse_a_report(options)
    how = _layout(options) | {"types": named(options, "type")}
    choices = _without(given(options, QuantizeChoices), "type")
    return several_planned(lambda: deepgguf.plan_quantize_several(options.source, options.output, **how, **choices))


def show(plans: "Sequence[Plan]", options: argparse.Namespace, jobs: int) -> None:
    """The plans as a page or as JSON."""
    from deepgguf.planning.joint import join
    from deepgguf.planning.needs import memory_needed
    from deepgguf.planning.totals import work_of
    from deepgguf.run.speed import estimated_seconds
    from deepgguf.terminal import several_pages
    from deepgguf.terminal.room import rooms

    memory, seconds = memory_needed(join(plans), jobs), estimated_seconds(work_of(plans), jobs)
    placed = _placed(plans)
    needs = several_pages.Needs(memory, jobs, seconds, rooms(placed))
    if options.json:
        print_json(several_pages.plans_view(placed, needs))
    else:
        print_page(several_pages.render_plans(placed, needs))


def run(plans: "Sequence[Plan]", options: argparse.Namespace, how: dict[str, Any]) -> None:
    """Carries the plans out, and says what came of them."""
    from deepgguf.run.file_job import without_twins
    from deepgguf.terminal import several_pages
    from deepgguf.terminal.progress import progress_of

    placed = _placed(plans)
    for folder in dict.fromkeys(plan.folder for plan in plans):
        check_pages(options, folder)
    if options.json:
        warn(several_pages.warnings(placed))
    total = sum(file.nbytes for plan in without_twins(placed) for file in plan.files)
    with executor_of(options) as by, progress_of(total, f"{len(plans)} outputs", by) as progress:
        reports = deepgguf.run_together(plans, executor=by, progress=progress, **how)
    if options.json:
        print_json(several_pages.reports_view(placed, reports))
    else:
        print_page(several_pages.render_reports(placed, reports))
    write_model_cards(options, zip(plans, reports, strict=True))


def _placed(plans: "Sequence[Plan]") -> "list[Placed]":
    from deepgguf.run.file_job import Placed

    return [Placed(plan, plan.folder) for plan in plans]


def _refuse_a_report(options: argparse.Namespace) -> None:
    if options.report is not None:
        found = "is a page of one output, and several are asked for"
        raise UsageError("`report`", found, "make it of each afterwards: `deepgguf report FILE.gguf`")


def _layout(options: argparse.Namespace) -> dict[str, Any]:
    return {} if options.layout is None else {"layout": options.layout}


def _without(choices: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: choice for name, choice in choices.items() if name not in names}
