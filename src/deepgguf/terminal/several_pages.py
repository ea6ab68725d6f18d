"""Several plans, and what came of them, as a page and as a script wants them."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepgguf.errors import printable
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.run.file_job import Placed
from deepgguf.run.result import Report
from deepgguf.terminal.json_views import plan_view, report_view
from deepgguf.terminal.plan_page import free
from deepgguf.terminal.room import Room, free_memory
from deepgguf.terminal.run_command import how_to_run, run_command
from deepgguf.terminal.sizes import counted, duration, size
from deepgguf.terminal.summary import (
    cluster_lines,
    command_lines,
    error_lines,
    file_line,
    losses,
    nonfinite_line,
    pace_lines,
    traffic_lines,
)
from deepgguf.terminal.tables import facts_table, marked, titled_table, warning_lines


class Needs(NamedTuple):
    """What carrying plans out together takes: bytes of memory with `jobs` threads, about how many seconds, room."""

    memory: int
    jobs: int
    seconds: float
    rooms: tuple[Room, ...]


def render_plans(placed: Sequence[Placed], needs: Needs) -> RenderableType:
    """All files with their sizes, what they take, warnings."""
    first = placed[0].plan
    facts = facts_table()
    stored = sum(source.size for source in first.sources)
    shards = f"{counted(len(first.sources), 'shard')}, {size(stored)}, read once"
    facts.add_row("from", f"{printable(first.source.place)}  ({shards})")
    facts.add_row("to", f"{counted(len(placed), 'output')}, {size(sum(room.needed for room in needs.rooms))}")
    for room in needs.rooms:
        facts.add_row("disk", marked(f"{printable(room.folder)}: {size(room.needed)} needed{free(*room[1:])}"))
    memory = f"{size(needs.memory)} needed with {needs.jobs} jobs{free(needs.memory, free_memory())}"
    facts.add_row("memory", marked(memory))
    work = f"about {duration(needs.seconds)}, from a short trial of each kernel; a slower disk takes longer"
    facts.add_row("work", work)
    return Group(facts, Text(), _files(placed), *warning_lines(warnings(placed)))


def render_reports(placed: Sequence[Placed], reports: Sequence[Report]) -> RenderableType:
    """The files, bytes and time of all, what was read, warnings, how to run each."""
    files = {file.path: file for report in reports for file in report.files}.values()
    lines = [file_line(file) for file in files]
    lines += [Text(f"sha256 {f.sha256}  {printable(f.path)}") for f in files if f.sha256]
    seconds, written, resumed = _sums(reports)
    lines += pace_lines(files, written, resumed, seconds)
    lines += [Text(line) for line in (*traffic_lines(reports[0]), *cluster_lines(reports))]
    nan, inf = (max(getattr(report.counts, count) for report in reports) for count in ("nan", "inf"))
    lines.append(nonfinite_line(nan, inf))
    for (plan, _), report in zip(placed, reports, strict=True):
        lines += [Text(line) for line in error_lines(report, f" of {_which(plan, placed)}")]
    lines += warning_lines(warnings(placed, reports))
    for ways in dict.fromkeys(tuple(how_to_run(plan, folder)) for plan, folder in placed):  # twins are one model
        lines += command_lines(ways)
    return Group(*lines)


def plans_view(placed: Sequence[Placed], needs: Needs) -> dict[str, object]:
    """Each plan as `plan --json` has it, with its folder; what they take together."""
    outputs = [
        plan_view(plan, needs.memory, needs.jobs, run_command(plan, folder)) | {"folder": str(folder)}
        for plan, folder in placed
    ]
    return {
        "outputs": outputs,
        "size": sum(room.needed for room in needs.rooms),
        "memory": needs.memory,
        "jobs": needs.jobs,
        "seconds": needs.seconds,
        "disks": [room._asdict() for room in needs.rooms],
    }


def reports_view(placed: Sequence[Placed], reports: Sequence[Report]) -> dict[str, object]:
    """Each report as `convert --json` has it; seconds and bytes of all."""
    pairs = zip(placed, reports, strict=True)
    outputs = [report_view(plan, report, run_command(plan, folder)) for (plan, folder), report in pairs]
    seconds, written, resumed = _sums(reports)
    return {"outputs": outputs, "seconds": seconds, "written": written, "resumed": resumed}


def warnings(placed: Sequence[Placed], reports: Sequence[Report] = ()) -> tuple[str, ...]:
    """What the plans and their reports warn of, each once, and of which outputs it is if not of all."""
    found: dict[str, list[str]] = {}
    for (plan, _), report in zip_longest(placed, reports):
        for warning in (*plan.warnings, *(losses(report) if report else ())):
            found.setdefault(warning, []).append(_which(plan, placed))
    return tuple(
        warning if len(which) == len(placed) else f"{', '.join(which)}: {warning}" for warning, which in found.items()
    )


def _which(plan: Plan, placed: Sequence[Placed]) -> str:
    """A plan's type, and its target where there are several."""
    of = f" for {plan.target}" if len({each.target for each, _ in placed}) > 1 else ""
    return f"{plan.recipe or plan.type}{of}"


def _sums(reports: Sequence[Report]) -> tuple[float, int, int]:
    """Seconds until the last file had its name, bytes written and bytes resumed of all."""
    seconds = max(report.seconds for report in reports)
    return seconds, sum(report.written for report in reports), sum(report.resumed for report in reports)


def _files(placed: Sequence[Placed]) -> Table:
    table = titled_table(
        "Files", "folder", "name", "target", "type", "tensors", "size", "bits/weight",
        numbers=("tensors", "size", "bits/weight"),
    )  # fmt: skip
    shown: dict[object, PlannedFile] = {}
    for plan, folder in placed:
        for file in plan.files:
            if shown.setdefault(folder / file.name, file) is file:
                row = printable(folder), printable(file.name), plan.target, plan.recipe or plan.type
                table.add_row(*row, f"{len(file.tensors):,}", f"{file.size:,}", f"{file.bits_per_weight:.2f}")
    return table
