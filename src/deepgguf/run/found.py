"""What a run finds complete already, by the manifests: what an earlier run of the same plan had brought to its end."""

from collections.abc import Sequence

from deepgguf.encodings.encoding import Counts
from deepgguf.errors import UsageError
from deepgguf.formats.manifest import Manifest
from deepgguf.run.destination import Destination
from deepgguf.run.file_job import Output
from deepgguf.run.result import FileReport, Report, TensorResult


def found_report(output: Output, destination: Destination, first: int = 0) -> Report | None:
    """The report of the output's files, numbered from `first` on; None if one of them is still to be made."""
    found = []
    for number in range(first, first + len(output.plan.files)):
        manifest = destination.finished(number)
        if manifest is None:
            return None
        found.append(manifest)
    nbytes = sum(tensor.nbytes for manifest in found for tensor in manifest.tensors)
    return Report(tuple(_file(output, each) for each in found), seconds=0.0, written=0, resumed=nbytes)


def resumed_when_complete(outputs: Sequence[Output], destination: Destination) -> tuple[Report, ...] | None:
    """The reports of outputs of which a resumed run has nothing left to do; None if there is something.

    UsageError if what is asked for of them is known only while they are made.
    """
    reports, first = [], 0
    for output in outputs:
        report = found_report(output, destination, first)
        if report is None:
            return None
        reports.append(report)
        first += len(output.plan.files)
    settings, files = outputs[0].settings, [file for report in reports for file in report.files]
    lacking = {"measure_error": settings.measure_error, "sha256": settings.sha256 and not all(f.sha256 for f in files)}
    if asked := next((name for name, lacks in lacking.items() if lacks), None):
        advice = f"leave out `{asked}=True`, or make it again with `overwrite=True`"
        raise UsageError(files[0].path, "is complete already, and what is asked for takes making it", advice)
    return tuple(reports)


def _file(output: Output, manifest: Manifest) -> FileReport:
    tensors = tuple(TensorResult(t.name, t.type, t.digest, Counts()) for t in manifest.tensors)
    path = output.settings.folder / manifest.file
    return FileReport(path, manifest.size, tensors, manifest.sha256, found=True)
