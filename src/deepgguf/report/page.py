"""Facts to a page: what the templates show is computed here, how it looks is theirs alone."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from deepgguf.errors import UsageError, printable
from deepgguf.planning.machines import MACHINES, smallest_machine
from deepgguf.report import breakdown, comparison, heat_map, shades
from deepgguf.report.embedded import embed
from deepgguf.report.facts import ReportFacts
from deepgguf.terminal.sizes import count, counted, size
from deepgguf.version import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

_MOST_WORST = 20
_MOST_LISTED = 500
_LONGEST = 4000  # characters of a text that comes from a file, or from the command line


def environment() -> "Environment":
    """The templates, with everything escaped that is put into them. UsageError without Jinja2."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise UsageError(
            "`report`", "needs Jinja2, which is not installed", "`pip install 'deepgguf[report]'`"
        ) from None
    made = Environment(
        loader=PackageLoader("deepgguf.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters |= {"size": size, "count": count, "percent": _percent, "signed": _signed, "listed": _listed}
    made.globals |= {"version": __version__, "counted": counted, "bits_legend": shades.BITS_LEGEND}
    made.globals |= {"error_legend": shades.ERROR_LEGEND, "most_listed": _MOST_LISTED}
    made.globals |= {"shades_of_bits": shades.BITS_SHADES, "shades_of_errors": shades.ERROR_SHADES}
    return made


def report_page(facts: ReportFacts) -> str:
    """The page of one model."""
    from markupsafe import Markup

    errors = heat_map.error_map(facts.tensors)
    return (
        environment()
        .get_template("report.html")
        .render(
            facts=facts,
            tiles=_tiles(facts),
            parts=breakdown.parts_of(facts.tensors),
            bits=heat_map.bits_map(facts.tensors),
            errors=errors if errors.lines else None,
            worst=facts.worst[:_MOST_WORST],
            changes=breakdown.changes_of(facts.tensors),
            notes=breakdown.notes_of(facts.tensors),
            embedded=Markup(embed(facts)),
        )
    )


def comparison_page(first: ReportFacts, second: ReportFacts) -> str:
    """The page of how two models differ."""
    return (
        environment()
        .get_template("comparison.html")
        .render(
            both=(first, second),
            names=_told_apart(first, second),
            rows=_compared(first, second),
            measured=bool(first.worst or second.worst),
            maps=[heat_map.bits_map(facts.tensors) for facts in (first, second)],
            differences=comparison.tensor_differences(first, second),
            keys=comparison.key_differences(first, second),
        )
    )


def _tiles(facts: ReportFacts) -> list[tuple[str, str]]:
    """The numbers that a reader asks for first."""
    machine = smallest_machine(facts.size)
    tiles = [
        ("size", size(facts.size)),
        ("parameters", count(facts.weights)),
        ("bits per weight", f"{heat_map.bits(facts.tensors):.2f}"),
        ("tensors", f"{len(facts.tensors):,}"),
        ("fits a machine with", f"{machine} GiB" if machine else f"more than {MACHINES[-1]} GiB"),
    ]
    worst = facts.worst
    return [*tiles, ("largest error", _percent(worst[0].error or 0.0))] if worst else tiles


def _compared(first: ReportFacts, second: ReportFacts) -> list[tuple[str, str, str, str]]:
    """Rows of a name, both values, and the change."""
    rows = [
        _row("size", size, first.size, second.size),
        _row("parameters", lambda weights: count(int(weights)), first.weights, second.weights),
        _row("tensors", "{:,}".format, len(first.tensors), len(second.tensors)),
        _row("bits per weight", "{:.2f}".format, heat_map.bits(first.tensors), heat_map.bits(second.tensors)),
    ]
    if first.worst and second.worst:
        rows.append(_row("largest error", _percent, first.worst[0].error or 0.0, second.worst[0].error or 0.0))
    return rows


def _row(name: str, write: Callable[[float], str], first: float, second: float) -> tuple[str, str, str, str]:
    return name, write(first), write(second), _signed(second / first - 1) if first else ""


def _told_apart(first: ReportFacts, second: ReportFacts) -> list[str]:
    """Their titles, or where these are the same those of their first files."""
    if first.title != second.title:
        return [first.title, second.title]
    return [facts.files[0].name for facts in (first, second)]


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.1 else f"{share:.2%}"


def _signed(share: float) -> str:
    """A change: +2.3 %, −12 %; nothing for none."""
    return f"{share:+.1%}".replace("-", "−") if share else "the same"


def _listed(things: Sequence[Any]) -> Sequence[Any]:
    return things[:_MOST_LISTED]


def _shown(value: object) -> object:
    """Texts come from files of strangers: what is invisible in them, or turns the line around, is shown as its code."""
    return printable(value, _LONGEST) if type(value) is str else value
