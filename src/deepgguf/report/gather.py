"""Plans, reports of runs, descriptions of files and verifications to the facts of a report."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepgguf.formats.gguf.describe import Description, describe_key, file_type_name, true_type
from deepgguf.formats.manifest import Manifest, manifest_path, read_manifest
from deepgguf.planning.identity import file_identity
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.report.facts import OutputFacts, ReportFacts, TensorFacts
from deepgguf.run.result import FileReport, Report
from deepgguf.terminal.key_text import key_text
from deepgguf.terminal.secrets import without_secrets
from deepgguf.terminal.sizes import counted, duration, size
from deepgguf.verification.report import Verification
from deepgguf.version import __version__


def facts_of_plan(plan: Plan, done: Report | None = None, command: str = "") -> ReportFacts:
    """Those of a plan; with the report of its run, of what was written."""
    reports: Sequence[FileReport | None] = done.files if done else [None] * len(plan.files)
    pairs = list(zip(plan.files, reports, strict=True))
    return ReportFacts(
        kind="conversion" if done else "plan",
        title=plan.name,
        architecture=plan.architecture,
        target=plan.target,
        type=plan.recipe or _type(plan.files[0]) or plan.type,
        files=tuple(_output(file, report) for file, report in pairs),
        tensors=tuple(tensor for file, report in pairs for tensor in _tensors(file, report)),
        dropped=plan.dropped,
        warnings=tuple(map(without_secrets, plan.warnings)),
        outcome=_outcome(done) if done else "",
        provenance=_said(_origin(plan), command),
        sources=plan.sources,
        keys=tuple((name, key_text(describe_key(name, value))) for name, value in plan.files[0].keys.items()),
    )


def _type(file: PlannedFile) -> str | None:
    held = Counter[str]()
    for tensor in file.tensors:
        held[tensor.info.type.name] += tensor.info.nbytes
    return true_type(file_type_name(file.keys), held)


def facts_of_file(description: Description, checked: Verification | None = None, command: str = "") -> ReportFacts:
    """Those of a GGUF file or a split set, with what the manifests beside it say, and what `verify` found if it ran."""
    manifests = [read_manifest(manifest_path(file.path)) for file in description.files]
    made = next(filter(None, manifests), None)
    digests = {str(file.path): file.sha256 for file in checked.files} if checked else {}
    return ReportFacts(
        kind="verification" if checked else "file",
        title=description.name or Path(description.files[0].path).stem,
        architecture=description.architecture or "",
        target=made.target if made else "",
        type=description.true_type or "",
        files=_described_files(description, manifests, digests),
        tensors=tuple(TensorFacts(t.name, "", t.type, t.parameters, t.bytes) for t in description.tensors),
        differences=tuple(map(str, checked.differences)) if checked else (),
        outcome=_found(checked) if checked else "",
        provenance=_said(_made_by(made) | _compared(checked), command),
        sources=made.sources if made else (),
        keys=tuple((key.name, key_text(key)) for key in description.keys),
    )


def _output(file: PlannedFile, report: FileReport | None) -> OutputFacts:
    sha256 = report.sha256 if report else ""
    return OutputFacts(file.name, file.size, file.nbytes, len(file.tensors), file.weights, sha256)


def _tensors(file: PlannedFile, report: FileReport | None) -> list[TensorFacts]:
    errors = {t.name: t.relative_rms for t in report.tensors if t.squares} if report else {}
    return [
        TensorFacts(t.info.name, t.dtypes, t.info.type.name, t.weights, t.info.nbytes, errors.get(t.info.name), t.note)
        for t in file.tensors
    ]


def _origin(plan: Plan) -> dict[str, str | None]:
    repository, commit = plan.source.repository
    importance = plan.importance
    return {
        "source": without_secrets(plan.source.place),
        "repository": repository,
        "commit": commit,
        "importance matrix": f"{importance.file.name}, {importance.digest}" if importance else None,
        "deepgguf": __version__,
        "plan (XXH3)": ", ".join(file_identity(plan, file) for file in plan.files),
    }


def _made_by(manifest: Manifest | None) -> dict[str, str | None]:
    if manifest is None:
        return {}
    return {
        "made from": manifest.source,
        "made as": f"{manifest.type} for {manifest.target}",
        "made by": f"deepgguf {manifest.version}",
        "plan (XXH3)": manifest.plan,
        "header (XXH3)": manifest.header_digest,
    }


def _compared(checked: Verification | None) -> dict[str, str | None]:
    if checked is None or checked.source is None:
        return {}
    left_out = (f"{counted(count, 'tensor')}, {why}" for why, count in checked.source.dropped.items())
    return {"compared with": without_secrets(checked.source.source), "left out": "; ".join(left_out)}


def _described_files(
    description: Description, manifests: Sequence[Manifest | None], digests: dict[str, str]
) -> tuple[OutputFacts, ...]:
    found = []
    for number, (file, manifest) in enumerate(zip(description.files, manifests, strict=True)):
        tensors = [tensor for tensor in description.tensors if tensor.file == number]
        sha256 = digests.get(file.path) or (manifest.sha256 if manifest else "")
        nbytes, weights = sum(t.bytes for t in tensors), sum(t.parameters for t in tensors)
        found.append(OutputFacts(Path(file.path).name, file.size, nbytes, len(tensors), weights, sha256))
    return tuple(found)


def _said(facts: Mapping[str, str | None], command: str) -> tuple[tuple[str, str], ...]:
    """What is known, the command first."""
    everything = {"command": without_secrets(command), **facts}
    return tuple((name, fact) for name, fact in everything.items() if fact)


def _outcome(done: Report) -> str:
    resumed = f", {size(done.resumed)} resumed" if done.resumed else ""
    counts = done.counts
    if all(file.found for file in done.files):
        return f"complete already; NaN {counts.nan}, Inf {counts.inf}"
    return f"{size(done.written)} in {duration(done.seconds)}{resumed}; NaN {counts.nan}, Inf {counts.inf}"


def _found(checked: Verification) -> str:
    hashed = sum(file.hashed for file in checked.files)
    source = checked.source
    compared = f"{source.exact + source.bounded} tensors and {source.keys} keys with the source" if source else ""
    stored = f"{hashed} tensors with the stored hashes" if hashed else ""
    against = " and ".join(filter(None, (compared, stored))) or "the structure alone"
    found = counted(len(checked.differences), "difference") if checked.differences else "no difference"
    return f"{found}; compared: {against}; {duration(checked.seconds)}"
