"""What a verification found, in a few lines."""

from rich.console import Group, RenderableType
from rich.text import Text

from deepgguf.errors import printable
from deepgguf.terminal.sizes import counted, duration, size
from deepgguf.verification.equality import Equality
from deepgguf.verification.report import Verification, VerifiedFile

_MOST = 20


def render(report: Verification) -> RenderableType:
    """Files, what they were compared with, and up to 20 differences."""
    lines = [_file(file, with_source=report.source is not None) for file in report.files]
    lines += [Text(f"sha256 {f.sha256}  {printable(f.path.name)}") for f in report.files if f.sha256]
    source = report.source
    if source:
        bounded = f", {source.bounded} quantized ones within their bounds" if source.bounded else ""
        exact = f"{source.exact} tensors exact{bounded}, {source.keys} keys"
        exact += f", {source.remade} tensors made anew with the same bytes" if source.remade else ""
        if report.differences:
            exact = f"{source.exact + source.bounded} tensors and {source.keys} keys compared"
        lines.append(Text(f"source {printable(source.source)}: {exact}"))
        if source.equality and not report.differences:
            lines.append(Text(_equal(source.equality)))
        if source.chosen:
            lines.append(Text(f"{counted(source.chosen, 'tensor')} of another type than in {source.type}"))
        if source.patched:
            lines.append(Text(f"patched: {printable(', '.join(source.patched), 1000)}"))
        lines += [
            Text(f"dropped, as expected: {counted(count, 'tensor')}, {why}") for why, count in source.dropped.items()
        ]
    lines += [Text(printable(difference, 2000), style="red") for difference in report.differences[:_MOST]]
    if len(report.differences) > _MOST:
        lines.append(Text(f"and {len(report.differences) - _MOST} more, all of them in the JSON", style="red"))
    outcome = counted(len(report.differences), "difference") if report.differences else "no difference"
    lines.append(Text(f"{outcome}, {duration(report.seconds)}", style="red" if report.differences else "green"))
    return Group(*lines)


def _equal(found: Equality) -> str:
    if found.equal == found.weights:
        return f"every weight equal, {found.weights:,} of them"
    share = f"{found.equal:,} of {found.weights:,} weights equal"
    return f"{share}, the others rounded by at most {found.largest_rounding:.3g} of themselves"


def _file(file: VerifiedFile, *, with_source: bool) -> Text:
    facts = f"  {size(file.size)}, {file.tensors} tensors, {file.keys} keys: structure sound"
    if file.hashed:
        facts += f", {file.hashed} tensors compared with the hashes in {printable(file.manifest)}"
    elif not file.manifest and not with_source:
        facts += f"; contents not checked: there is no {printable(file.path.name)}.json, give the source"
    return Text.assemble((printable(file.path), "bold"), facts)
