"""What a run finds complete already, by the manifests: what an earlier run of the same plan had brought to its end."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deepgguf.encodings.encoding import Counts
from deepgguf.errors import NonFiniteError, OutputError, UsageError
from deepgguf.executors.executor import Progress
from deepgguf.formats.manifest import Manifest
from deepgguf.run.address import Place
from deepgguf.run.destination import Destination
from deepgguf.run.file_job import Output
from deepgguf.run.following_hash import sha256_of
from deepgguf.run.result import FileReport, Report, TensorResult
from deepgguf.run.settings import Settings


def found_report(output: Output, destination: Destination, first: int = 0) -> Report | None:
    """The report of the output's files, numbered from `first` on; None if one of them is still to be made.

    UsageError if their errors are to be measured, which is done while they are made; NonFiniteError if they have NaN or
    Inf, and that is not allowed now.
    """
    files, nbytes = [], 0
    for number, planned in enumerate(output.plan.files, first):
        manifest = destination.finished(number)
        if manifest is None:
            return None
        files.append(_file(output.settings.folder / planned.name, manifest))
        nbytes += sum(tensor.nbytes for tensor in manifest.tensors)
    report = Report(tuple(files), seconds=0.0, written=0, resumed=nbytes)
    _check(report, output.settings)
    return report


def resumed_when_complete(
    outputs: Sequence[Output], destination: Destination, progress: Progress
) -> tuple[Report, ...] | None:
    """The reports of outputs of which a resumed run has nothing left to do; None if there is something.

    A SHA-256 that is asked for is that of the file as it is. OutputError if it is not the one that the manifest has;
    other errors are those of `found_report`.
    """
    reports: list[Report] = []
    for output in outputs:
        report = found_report(output, destination, sum(len(each.files) for each in reports))
        if report is None:
            return None
        reports.append(report)
    if not outputs[0].settings.sha256:
        progress(sum(report.resumed for report in reports))
        return tuple(reports)
    if not all(isinstance(file.path, Path) for report in reports for file in report.files):
        return None  # an upload is not read again
    return tuple(_hashed(report, progress) for report in reports)


def _file(path: Place, manifest: Manifest) -> FileReport:
    tensors = tuple(TensorResult(t.name, t.type, t.digest, Counts(t.nan, t.inf)) for t in manifest.tensors)
    return FileReport(path, manifest.size, tensors, manifest.sha256, found=True)


def _check(report: Report, settings: Settings) -> None:
    path, counts = report.files[0].path, report.counts
    if settings.measure_error:
        found = "is complete already, and its error is measured only while it is made"
        advice = "leave out `measure_error=True`, or make it again with `overwrite=True`"
        raise UsageError(path, found, advice)
    if any(counts) and not settings.allow_nonfinite:
        found = f"is complete already, and {counts.nan} of its weights are NaN, {counts.inf} infinite"
        raise NonFiniteError(path, found, "`allow_nonfinite=True` takes it as it is")


def _hashed(report: Report, progress: Progress) -> Report:
    files, left = [], report.resumed

    def count(nbytes: int) -> None:
        nonlocal left
        progress(min(nbytes, left))  # of the data alone
        left -= min(nbytes, left)

    for file in report.files:
        assert isinstance(file.path, Path)
        digest = sha256_of(file.path, count)
        if file.sha256 not in ("", digest):
            found = "has changed since it was made: its SHA-256 is not the one in its manifest"
            raise OutputError(file.path, found, "make it again with `overwrite=True`")
        files.append(msgspec.structs.replace(file, sha256=digest))
    return msgspec.structs.replace(report, files=tuple(files))
