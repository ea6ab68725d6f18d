"""What a conversion did, in a few lines."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from deepgguf.encodings import encoding_of
from deepgguf.encodings.quantized import Quantized
from deepgguf.errors import printable
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.planning.schema import Plan
from deepgguf.run.address import Place
from deepgguf.run.result import FileReport, Report, TensorResult
from deepgguf.terminal.plan_page import type_counts
from deepgguf.terminal.run_command import how_to_run
from deepgguf.terminal.sizes import counted, duration, size
from deepgguf.terminal.tables import warning_lines


def traffic_lines(report: Report) -> Iterator[str]:
    """What a network had to do with it."""
    if report.traffic:
        read, causes = report.traffic, report.traffic.repeated
        again = ", ".join(f"{why} ({times})" for why, times in sorted(causes.items()))
        yield f"read {size(read.nbytes)} in {counted(read.requests, 'request')}" + (
            f", repeated: {again}" if again else ""
        )


def cluster_lines(reports: Sequence[Report]) -> Iterator[str]:
    """Which nodes made the files of one run, and what went wrong with them."""
    report, nodes = reports[0], sum((Counter(report.nodes) for report in reports), Counter[str]())
    if nodes:
        made = ", ".join(f"{printable(node)} {counted(pieces, 'piece')}" for node, pieces in sorted(nodes.items()))
        yield f"made by {counted(len(nodes), 'node')}: {made}"
    if report.again:
        yield "made again, the same bytes: " + ", ".join(f"{why} ({n})" for why, n in sorted(report.again.items()))
    if report.came_back:
        yield printable(report.came_back, 1000)


def render(plan: Plan, folder: Place, report: Report, run: Sequence[str] = ()) -> RenderableType:
    """Files in `folder`, rate, types, what was dropped, NaN and Inf, warnings, and how to run the model.

    `run` are lines that say that otherwise than by the files.
    """
    lines = [file_line(file) for file in report.files]
    lines += [Text(f"wrote {printable(report.recipe)}  the types, for --recipe")] if report.recipe else []
    lines += [Text(f"sha256 {f.sha256}  {printable(f.path.name)}") for f in report.files if f.sha256]
    lines += pace_lines(report.files, report.written, report.resumed, report.seconds)
    lines += [Text(line) for line in (*traffic_lines(report), *cluster_lines((report,)))]
    lines.append(Text("types: " + ", ".join(f"{count} {name}" for name, count in type_counts(plan).most_common())))
    for d in plan.dropped:
        scales = f" and {d.scales} scales" if d.scales else ""
        lines.append(Text(f"dropped {d.tensors} tensors{scales}: {d.reason}"))
    if plan.scales_paired:
        lines.append(Text(f"{plan.scales_paired} weights paired with their scales"))
    lines.append(nonfinite_line(report.counts.nan, report.counts.inf))
    lines += [Text(line) for line in error_lines(report)]
    lines += warning_lines((*plan.warnings, *losses(report)))
    return Group(*lines, *command_lines(run or how_to_run(plan, folder)))


def file_line(file: FileReport) -> Text:
    """A file that was written, or was complete before."""
    did = "already complete: " if file.found else "wrote "
    return Text.assemble(did, (printable(file.path), "bold"), f"  {file.size:,} bytes")


def pace_lines(files: Iterable[FileReport], written: int, resumed: int, seconds: float) -> Iterator[Text]:
    """How much was written in which time, and how much was there already, in bytes; nothing if all files were."""
    if all(file.found for file in files):
        return
    found = f", {size(resumed)} resumed" if resumed else ""
    yield Text(f"{size(written)} in {duration(seconds)}, {size(written / max(seconds, 1e-9))}/s{found}")


def nonfinite_line(nan: int, inf: int) -> Text:
    """How many weights are not finite."""
    return Text(f"NaN {nan}, Inf {inf}", style="yellow" if nan or inf else "")


def command_lines(lines: Sequence[str]) -> list[Text]:
    """How to run a model. A command is copied: a line break that is not between its words would make it another."""
    return [Text(printable(line, 100_000), no_wrap=True, overflow="ignore") for line in lines]


def error_lines(report: Report, of: str = "") -> Iterator[str]:
    """The largest error of each type, if errors were measured; `of` is which of several outputs has them."""
    largest = report.largest_errors
    if largest:
        made = ", of what this run made" if report.resumed else ""
        yield f"quantization error{of}{made}, relative RMS, the largest of each type:"
        for type, tensor in largest.items():
            yield f"  {type:7} {tensor.relative_rms:8.4%}  {printable(tensor.name)}"


def losses(report: Report) -> list[str]:
    """A warning for each of the largest errors that is larger than its type should have."""
    return [warning for warning in map(_too_large, report.largest_errors.values()) if warning]


def _too_large(tensor: TensorResult) -> str:
    """A warning where a tensor lost more than its type should, and more than `verify` accepts."""
    encoding = encoding_of(GGMLType[tensor.type])
    assert isinstance(encoding, Quantized)
    if tensor.relative_rms <= encoding.largest_rms:
        return ""
    fault = f": {encoding.weakness}" if encoding.weakness else ""
    return f"{tensor.name} lost more than {tensor.type} should{fault}; give it another type"
