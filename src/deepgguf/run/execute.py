"""A plan carried out: windows over an executor, results journalled, parts completed, and only then given their names.

One coordinator, the caller's thread, consumes the results: tally, journal and progress are its own. Workers know only
windows.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

from deepgguf.errors import ChangedError, CheckpointError, OutputError
from deepgguf.executors.executor import Cluster, Executor, Progress
from deepgguf.planning.schema import Plan
from deepgguf.planning.windows import Window, windows
from deepgguf.run.address import S3Address
from deepgguf.run.destination import Destination, OutputRun
from deepgguf.run.disk import Disk
from deepgguf.run.folder import Folder
from deepgguf.run.manifest import make_manifest
from deepgguf.run.placement import place
from deepgguf.run.result import FileReport, Report, Result
from deepgguf.run.settings import Settings
from deepgguf.run.worker import FarWorker, Worker

_RECORD_SECONDS = 1.0  # how much work a crash may cost


def execute(
    plan: Plan, settings: Settings, executor: Executor, *, disk: Disk | None = None,
    progress: Progress = lambda nbytes: None,
) -> Report:  # fmt: skip
    """Writes the files of `plan` into `settings.folder`, wherever that is.

    `progress` is called with the output bytes of every piece, in the calling thread. The result is the same bytes for
    any executor and after any interruption. `disk` is what writes into folders, for tests to replace.

    Errors: CheckpointError if what the source holds is at fault, then nothing is left; OutputError if reading or
    writing failed, ChangedError if the source is another one now, then part and journal stay; UsageError if an output
    exists.
    """
    started = time.monotonic()
    with ExitStack() as stack:
        destination = stack.enter_context(closing(_destination(plan, settings, disk or Disk())))
        destination.check()
        stack.enter_context(plan.source)
        if plan.importance:
            stack.enter_context(plan.importance.files)
        runs: list[OutputRun] = []
        stack.enter_context(_keep_or_discard(runs))
        for number in range(len(plan.files)):  # one by one, so that those already open are closed if one cannot be
            runs.append(destination.open(number, executor, progress))
        destination.settle()
        placed = place(plan, destination, runs, settings, executor)
        worker = stack.enter_context(closing(placed.worker))
        written = _make(plan, worker, executor, runs, progress, destination)
        reports = _finish(plan, destination, runs, settings)
    seconds, resumed = time.monotonic() - started, sum(run.resumed for run in runs)
    again = executor.again if isinstance(executor, Cluster) else {}
    came_back = placed.came_back
    return Report(
        tuple(reports), seconds, written, resumed, traffic=plan.source.traffic, again=again, came_back=came_back
    )


def _destination(plan: Plan, settings: Settings, disk: Disk) -> Destination:
    if isinstance(settings.folder, S3Address):
        from deepgguf.run.s3.destination import S3Folder  # with what only it needs

        return S3Folder(plan, settings.folder, settings)
    return Folder(plan, settings, disk)


def _make(
    plan: Plan, worker: Worker, executor: Executor, runs: Sequence[OutputRun], progress: Progress,
    destination: Destination,
) -> int:  # fmt: skip
    """Has every unfinished piece made, and records them as they come; how many bytes they have.

    OutputError if the executor has not had every task carried out.
    """

    def unfinished(file: int, number: int) -> bool:
        return not runs[file].is_named and not runs[file].tally.is_finished(number)

    written, due = 0, time.monotonic() + _RECORD_SECONDS
    tasks = windows(plan, unfinished, by_outputs=destination.by_outputs)
    with _recorded_to_the_last(runs), closing(_made(worker, tasks, executor, destination)) as results:
        for result in results:
            if result.parts:
                runs[result.file].take_parts(result.parts)
            if runs[result.file].tally.is_finished(result.number):
                continue  # the executor has done a task twice
            _note(runs[result.file], result)
            written += result.nbytes
            progress(result.nbytes)
            if time.monotonic() > due:
                _record(runs)
                due = time.monotonic() + _RECORD_SECONDS
    for run in runs:
        if not run.is_named and run.unfinished:
            found = f"the executor left {run.unfinished} of {len(run.file.tensors)} tensors unfinished"
            raise OutputError(run.job.final, found, "run again with `resume=True`, or with another executor")
    return written


def _made(worker: Worker, tasks: Iterator[Window], executor: Executor, destination: Destination) -> Generator[Result]:
    """What the executor's workers make of the windows."""
    if isinstance(worker, FarWorker):
        return executor.map(worker.make_all, destination.for_far_writers(tasks))
    return executor.map(worker.make, tasks)


def _note(run: OutputRun, result: Result) -> None:
    if result.data is not None:
        run.write(memoryview(result.data), result.offset)
    run.finish(result)


@contextmanager
def _recorded_to_the_last(runs: Sequence[OutputRun]) -> Iterator[None]:
    """Records what was finished once more at the end, whatever the end is, unless it is that nothing will be kept."""
    try:
        yield
        _record(runs, last=True)
    except BaseException as error:
        if not _condemns(error):
            with suppress(OutputError):  # what ended the run says more, and may well be that recording failed
                _record(runs, last=True)
        raise


def _record(runs: Sequence[OutputRun], *, last: bool = False) -> None:
    for run in runs:
        run.record(last=last)


def _condemns(error: BaseException) -> bool:
    """Whether the checkpoint's own bytes have been shown to be wrong: nothing else makes work worthless."""
    return isinstance(error, CheckpointError) and not isinstance(error, ChangedError)


@contextmanager
def _keep_or_discard(runs: Sequence[OutputRun]) -> Iterator[None]:
    """Closes the runs. After an error, keeps what can be resumed, and removes what cannot."""
    try:
        yield
    except BaseException as error:
        for run in runs:
            if _condemns(error) or (not run.is_named and not run.recorded):
                run.discard()
            run.close()
        raise
    for run in runs:
        run.close()


def _finish(plan: Plan, destination: Destination, runs: Sequence[OutputRun], settings: Settings) -> list[FileReport]:
    """Completes every file, then gives names: the mmproj before the text, the first file of a split set last."""
    reports = []
    for run in runs:
        if not run.is_named:
            run.complete()
        sha256 = run.sha256() if settings.sha256 else ""
        reports.append(FileReport(run.job.final, run.file.size, run.tally.results, sha256, dict(run.nodes)))
    plan.source.check_unchanged(plan.sources)
    for run, report in reversed([*zip(runs, reports, strict=True)]):
        run.refuse_taken()
        run.give_name(make_manifest(plan, run.job, run.header_digest, report) if settings.manifest else None)
    destination.settle()
    destination.finish()
    return reports
