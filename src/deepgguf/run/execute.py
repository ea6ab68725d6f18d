"""A plan carried out: windows over an executor, results journalled, parts completed, and only then given their names.

One coordinator, the caller's thread, consumes the results: tally, journal and progress are its own. Workers know only
windows.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

from deepgguf.errors import ChangedError, CheckpointError, OutputError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.executors.threads import Threads
from deepgguf.formats.json_bytes import utf8_text
from deepgguf.formats.manifest import Manifest
from deepgguf.planning.identity import file_identity
from deepgguf.planning.numbering import Numbering
from deepgguf.planning.schema import Plan
from deepgguf.planning.windows import windows
from deepgguf.run.disk import Disk, must_be_at
from deepgguf.run.file_job import FileJob
from deepgguf.run.file_run import FileRun, Opener
from deepgguf.run.journal import JournalHeader
from deepgguf.run.manifest import make_manifest, write_manifest
from deepgguf.run.outputs import check_outputs, refuse_existing, refuse_manifest, resumes_named
from deepgguf.run.part_file import PartWriter
from deepgguf.run.paths import Paths
from deepgguf.run.result import FileReport, Report, Result
from deepgguf.run.settings import Settings
from deepgguf.run.worker import Worker
from deepgguf.version import __version__

_RECORD_SECONDS = 1.0  # how much work a crash may cost


def execute(
    plan: Plan, settings: Settings, executor: Executor, *, disk: Disk | None = None,
    progress: Progress = lambda nbytes: None,
) -> Report:  # fmt: skip
    """Writes the files of `plan` into `settings.folder`.

    `progress` is called with the output bytes of every piece, in the calling thread. The result is the same bytes for
    any executor and after any interruption. `disk` is where it writes, for tests to replace.

    Errors: CheckpointError if what the source holds is at fault, then nothing is left; OutputError if reading or
    writing failed, ChangedError if the source is another one now, then part and journal stay; UsageError if an output
    exists.
    """
    started, disk = time.monotonic(), disk or Disk()
    jobs = [_job(plan, number, settings) for number in range(len(plan.files))]
    check_outputs(plan, jobs, settings)
    with ExitStack() as stack:
        stack.enter_context(plan.source)
        if plan.importance:
            stack.enter_context(plan.importance.files)
        runs: list[FileRun] = []
        stack.enter_context(_keep_or_discard(disk, runs))
        opener = Opener(disk, settings, executor, progress, named=resumes_named(settings, jobs))
        for job in jobs:  # one by one into the list, so that those already open are closed if one cannot be
            runs.append(opener.open(job))
            # Only of this process's own threads is it certain that what they wrote can be read here at once.
            if settings.sha256 and isinstance(executor, Threads):
                runs[-1].follow()
        disk.sync_folder(settings.folder)
        worker = stack.enter_context(closing(_worker(plan, disk, runs, settings, executor)))
        written = _make(plan, worker, executor, runs, progress)
        reports = _finish(plan, disk, runs, jobs, settings)
    return Report(tuple(reports), time.monotonic() - started, written, sum(run.resumed for run in runs))


def _job(plan: Plan, number: int, settings: Settings) -> FileJob:
    file = plan.files[number]
    versions = tuple((utf8_text(source.name), source.version) for source in plan.sources)
    header = JournalHeader(file_identity(plan, file), versions, __version__)
    return FileJob(Paths(settings.folder / file.name), file, Numbering(file, plan.piece_weights), header)


def _worker(plan: Plan, disk: Disk, runs: Sequence[FileRun], settings: Settings, executor: Executor) -> Worker:
    writers = tuple(_writer(disk, run) for run in runs) if executor.shares_files else None
    return Worker(plan, writers, measure_error=settings.measure_error)


def _writer(disk: Disk, run: FileRun) -> PartWriter:
    return PartWriter(disk, run.paths.part, run.part.inode if run.part else 0)


def _make(plan: Plan, worker: Worker, executor: Executor, runs: Sequence[FileRun], progress: Progress) -> int:
    """Has every unfinished piece made, and records them as they come; how many bytes they have.

    OutputError if the executor has not had every task carried out.
    """

    def unfinished(file: int, number: int) -> bool:
        return runs[file].part is not None and not runs[file].tally.is_finished(number)

    written, due = 0, time.monotonic() + _RECORD_SECONDS
    with _recorded_to_the_last(runs), closing(executor.map(worker.make, windows(plan, unfinished))) as results:
        for result in results:
            if runs[result.file].tally.is_finished(result.number):
                continue  # the executor has done a task twice
            _note(runs[result.file], result)
            written += result.nbytes
            progress(result.nbytes)
            if time.monotonic() > due:
                _record(runs)
                due = time.monotonic() + _RECORD_SECONDS
    for run in runs:
        if run.part and run.unfinished:
            found = f"the executor left {run.unfinished} of {len(run.file.tensors)} tensors unfinished"
            raise OutputError(run.paths.part, found, "run again with `resume=True`, or with another executor")
    return written


def _note(run: FileRun, result: Result) -> None:
    if result.data is not None and run.part:
        run.part.write(memoryview(result.data), result.offset)
    run.finish(result)


@contextmanager
def _recorded_to_the_last(runs: Sequence[FileRun]) -> Iterator[None]:
    """Records what was finished once more at the end, whatever the end is, unless it is that nothing will be kept."""
    try:
        yield
        _record(runs)
    except BaseException as error:
        if not _condemns(error):
            with suppress(OutputError):  # what ended the run says more, and may well be that recording failed
                _record(runs)
        raise


def _record(runs: Sequence[FileRun]) -> None:
    for run in runs:
        run.record()


def _condemns(error: BaseException) -> bool:
    """Whether the checkpoint's own bytes have been shown to be wrong: nothing else makes work worthless."""
    return isinstance(error, CheckpointError) and not isinstance(error, ChangedError)


@contextmanager
def _keep_or_discard(disk: Disk, runs: Sequence[FileRun]) -> Iterator[None]:
    """Closes the runs. After an error, keeps what can be resumed, and removes what cannot."""
    try:
        yield
    except BaseException as error:
        for run in runs:
            if _condemns(error) or (run.part and not run.recorded):
                run.discard(disk)
            run.close()
        raise
    for run in runs:
        run.close()


def _finish(
    plan: Plan, disk: Disk, runs: Sequence[FileRun], jobs: Sequence[FileJob], settings: Settings
) -> list[FileReport]:
    """Completes every part, then renames: the mmproj before the text, the first file of a split set last."""
    reports = []
    for run in runs:
        if run.part:
            run.part.complete()
        sha256 = run.sha256() if settings.sha256 else ""
        reports.append(FileReport(run.paths.final, run.file.size, run.tally.results, sha256))
    plan.source.check_unchanged(plan.sources)
    for run, job, report in reversed([*zip(runs, jobs, reports, strict=True)]):
        if run.part and not settings.overwrite:
            refuse_existing(run.paths, overwrite=False)
        refuse_manifest(job, overwrite=True)  # what was there before the work may have been replaced
        manifest = make_manifest(plan, job, run.header_digest, report) if settings.manifest else None
        _give_name(disk, run, manifest)
    disk.sync_folder(settings.folder)
    for run in runs:
        run.remove_journal()
    return reports


def _give_name(disk: Disk, run: FileRun, manifest: Manifest | None) -> None:
    """The final name for the file and its manifest; without one, that of a file which was replaced goes."""
    with ExitStack() as opened:
        if manifest:
            fd = write_manifest(disk, run.paths, manifest)
            opened.callback(os.close, fd)
        if run.part:
            run.part.give_name()
        if manifest:
            must_be_at(fd, run.paths.manifest_part)
            disk.rename(run.paths.manifest_part, run.paths.manifest)
        else:
            disk.remove(run.paths.manifest)
            disk.remove(run.paths.manifest_part)
