"""A plan as a page: files, room, memory, types by group of tensors, what is dropped, warnings."""

import re
from collections import Counter

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deepgguf.errors import printable
from deepgguf.planning.ahead import windows_ahead
from deepgguf.planning.machines import MACHINES, smallest_machine
from deepgguf.planning.schema import Plan
from deepgguf.planning.totals import PlanTotals
from deepgguf.terminal.run_command import split_note
from deepgguf.terminal.sizes import counted, duration, size
from deepgguf.terminal.tables import facts_table, marked, titled_table, warning_lines

_BLOCK = re.compile(r"\bblk\.\d+\.")
_NUMBERS = ("size", "bytes", "work", "tensors", "parameters", "scales", "bits/weight")


def render(plan: Plan, *, memory: int, jobs: int, free_disk: int | None, free_memory: int | None) -> RenderableType:
    """The whole page; `memory` is what `jobs` threads need, in bytes, as are the free ones (None: not known)."""
    parts: list[RenderableType] = [_facts(plan, memory, jobs, free_disk, free_memory), Text(), _files(plan)]
    for file in {f.kind: f for f in plan.files}.values():
        parts += [Text(), _types(plan, file.kind)]
    if plan.dropped:
        parts += [Text(), _dropped(plan)]
    parts += warning_lines(plan.warnings)
    note = split_note(plan)
    return Group(*parts, *([Text(note)] if note else []))


def _facts(plan: Plan, memory: int, jobs: int, free_disk: int | None, free_memory: int | None) -> Table:
    table = facts_table()
    weights = sum(file.weights for file in plan.files)
    sources = sum(source.size for source in plan.sources)
    facts = {
        "from": f"{printable(plan.source.place)}  ({counted(len(plan.sources), 'shard')}, {size(sources)})",
        "to": f"{plan.architecture} for {plan.target}, {plan.type}{f', recipe {plan.recipe}' if plan.recipe else ''}",
        "parameters": f"{weights:,}",
        "scales paired": _scales(plan),
        "disk": f"{size(plan.size)} needed{free(plan.size, free_disk)}",
        "fits": _fits(plan),
        "memory": f"{size(memory)} needed with {jobs} jobs{_connections(plan)}{free(memory, free_memory)}",
    }
    for name, fact in facts.items():
        if fact:
            table.add_row(name, marked(fact))
    return table


def _connections(plan: Plan) -> str:
    return f" and up to {windows_ahead(plan)} connections" if plan.source.connections else ""


def _scales(plan: Plan) -> str:
    shown = ", ".join(
        sorted({form.scaling for file in plan.files for tensor in file.tensors for form in tensor.forms} - {""})
    )
    return f"{plan.scales_paired:,}{f' ({shown})' if shown else ''}" if plan.scales_paired else ""


def _fits(plan: Plan) -> str:
    memory = smallest_machine(plan.size)
    if memory is None:
        return f"no common machine: more than {MACHINES[-1]} GiB of memory"
    left = memory - plan.size / (1 << 30)
    return f"a machine with {memory} GiB of memory, with {left:.3g} GiB left for the context"


def free(needed: int, there: int | None) -> str:
    """How much is `there` where so much is needed; nothing where that is not known."""
    if there is None:
        return ""
    return f", {size(there)} free" + ("  [bold red]not enough[/]" if needed > there else "")


def _files(plan: Plan) -> Table:
    table = titled_table("Files", "name", "tensors", "size", "bits/weight", numbers=_NUMBERS)
    for file in plan.files:
        table.add_row(printable(file.name), f"{len(file.tensors):,}", f"{file.size:,}", f"{file.bits_per_weight:.2f}")
    return table


def _types(plan: Plan, kind: str) -> Table:
    """Tensors that differ only in the number of their block share a line per type."""
    table = titled_table(
        f"Types ({kind})", "tensor", "from", "type", "tensors", "parameters", "size", "note", numbers=_NUMBERS
    )
    groups: dict[tuple[str, str, str, str], list[int]] = {}
    for file in plan.files:
        for t in file.tensors if file.kind == kind else ():
            key = (_BLOCK.sub("blk.*.", t.info.name), t.dtypes, t.info.type.name, t.note)
            entry = groups.setdefault(key, [0, 0, 0])
            entry[0] += 1
            entry[1] += t.weights
            entry[2] += t.info.nbytes
    for (name, dtype, type, note), (count, weights, nbytes) in groups.items():
        table.add_row(printable(name), dtype, type, f"{count:,}", f"{weights:,}", size(nbytes), printable(note))
    return table


def render_types(types: dict[str, PlanTotals], seconds: dict[str, float], jobs: int) -> RenderableType:
    """One line per type: bits per weight, exact size, estimated time of the work with `jobs` threads."""
    table = titled_table("Every type", "type", "bits/weight", "size", "bytes", "work", numbers=_NUMBERS)
    for type, found in types.items():
        work = duration(seconds[type])
        table.add_row(type, f"{found.bits_per_weight:.2f}", size(found.size), f"{found.size:,}", work)
    note = f"work: estimated for {jobs} threads from a short trial of each kernel; a slower disk takes longer"
    return Group(table, Text(note, style="dim"))


def _dropped(plan: Plan) -> Table:
    table = titled_table("Dropped", "reason", "tensors", "scales", "size", "first", numbers=_NUMBERS)
    for d in plan.dropped:
        table.add_row(d.reason, f"{d.tensors:,}", f"{d.scales:,}", size(d.nbytes), printable(d.example))
    return table


def type_counts(plan: Plan) -> Counter[str]:
    """Tensors by type, over all files."""
    return Counter(t.info.type.name for file in plan.files for t in file.tensors)
