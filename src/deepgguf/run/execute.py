"""Plans carried out: windows over an executor, results journalled, parts completed, and only then given their names.

One coordinator, the caller's thread, consumes the results: tally, journal and progress are its own. Workers know only
windows.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import NamedTuple

import msgspec

from deepgguf.errors import ChangedError, CheckpointError, OutputError, UsageError
from deepgguf.executors.executor import Cluster, Executor, Progress
from deepgguf.executors.threads import Threads
from deepgguf.planning.joint import Joint, join
from deepgguf.planning.schema import Plan
from deepgguf.planning.windows import Window, windows
from deepgguf.run.address import S3Address
from deepgguf.run.destination import Destination, OutputRun
from deepgguf.run.disk import Disk
from deepgguf.run.file_job import Output
from deepgguf.run.folder import Folders
from deepgguf.run.found import resumed_when_complete
from deepgguf.run.manifest import make_manifest
from deepgguf.run.placement import place
from deepgguf.run.result import FileReport, Report, Result
from deepgguf.run.settings import Settings
from deepgguf.run.worker import FarWorker, Worker

# Seconds between two records of one file, and of several: how much work a crash may cost, beside that of a record.
# Often, so that the disk writes while the processors work, and has little left to do at the end: with a second between
# them, the bench checkpoint takes 1.05 times as long from a folder, and 1.15 times from a server. Rarely for several,
# for each costs a disk a seek or two.
_RECORD_SECONDS, _RARELY = 0.2, 1.0


def execute(
    plan: Plan, settings: Settings, executor: Executor, *, disk: Disk | None = None,
    progress: Progress = lambda nbytes: None,
) -> Report:  # fmt: skip
    """Writes the files of `plan` into `settings.folder`, wherever that is; see `execute_together`."""
    return execute_together((Output(plan, settings),), executor, disk=disk, progress=progress)[0]


def execute_together(
    outputs: Sequence[Output], executor: Executor, *, disk: Disk | None = None,
    progress: Progress = lambda nbytes: None,
) -> tuple[Report, ...]:  # fmt: skip
    """Writes the files of several plans of one source, which is read once for all of them; a report of each.

    `progress` is called with the output bytes of every piece, in the calling thread. The result is the same bytes for
    any executor and after any interruption, and whatever else is made at the same time. `disk` is what writes into
    folders, for tests to replace.

    Errors: CheckpointError if what the source holds is at fault, then nothing is left but what was whole before;
    OutputError if reading or writing failed, ChangedError if the source is another one now, then part and journal stay;
    UsageError if an output exists. To resume what is complete already, by its manifest, is no error: it is left so.
    """
    started = time.monotonic()
    joint, settings = join([output.plan for output in outputs]), outputs[0].settings
    with ExitStack() as stack:
        destination = stack.enter_context(closing(destination_of(outputs, disk or Disk())))
        complete = _complete_already(outputs, destination, progress)
        if complete is not None:
            return complete
        stack.enter_context(joint.source)
        for importance in filter(None, joint.importances):
            stack.enter_context(importance.files)
        runs: list[OutputRun] = []
        stack.enter_context(_keep_or_discard(runs))
        for number in range(len(joint.files)):  # one by one, so that those already open are closed if one cannot be
            runs.append(destination.open(number, executor, progress))
        destination.settle()
        endings = _endings(outputs, runs, destination, started)
        placed = place(joint, destination, runs, settings, executor)
        worker = stack.enter_context(closing(placed.worker))
        _make(_Work(joint, worker, executor, runs, endings, progress), destination)
        reports = tuple(ending.finish() for ending in endings)
        destination.finish()
    if not isinstance(executor, Cluster):
        return reports
    of_cluster = {"again": executor.again, "came_back": placed.came_back}
    return tuple(msgspec.structs.replace(report, **of_cluster) for report in reports)


def _complete_already(
    outputs: Sequence[Output], destination: Destination, progress: Progress
) -> tuple[Report, ...] | None:
    """Looks at where the files go; their reports if a resumed run finds all complete, None if it has work to do.

    UsageError if names are taken by anything else.
    """
    refusal: UsageError | None = None
    try:
        destination.check()
    except UsageError as error:
        refusal = error
    settings = outputs[0].settings
    if settings.left_part == "resume" and not settings.overwrite:
        complete = resumed_when_complete(outputs, destination, progress)
        if complete is not None:
            return complete
    if refusal is not None:
        raise refusal
    return None


def destination_of(outputs: Sequence[Output], disk: Disk) -> Destination:
    """Where the files go; nothing is opened there yet.

    UsageError for several outputs of which one goes into an object store, where bytes are written in their order.
    """
    plan, settings = outputs[0]
    addresses = [output.settings.folder for output in outputs if isinstance(output.settings.folder, S3Address)]
    if not addresses:
        return Folders(outputs, disk)
    if len(outputs) > 1:
        found = "several outputs at once are written to folders only"
        raise UsageError(addresses[0], found, "write them to a folder and upload it, or make them one by one")
    from deepgguf.run.s3.destination import S3Folder  # with what only it needs

    return S3Folder(plan, addresses[0], settings)


class _Ending:
    """The files of one plan, which get their names when all of them are whole."""

    def __init__(self, output: Output, runs: Sequence[OutputRun], destination: Destination, started: float) -> None:
        self._plan, self._settings = output
        self._runs, self._destination, self._started = runs, destination, started
        self._report: Report | None = None
        self.written = 0  # bytes

    @property
    def is_due(self) -> bool:
        """Whether all is made, and the names are not yet given."""
        return self._report is None and not any(run.unfinished for run in self._runs)

    def finish(self) -> Report:
        """Completes every file, then gives names: the mmproj before the text, the first file of a split set last."""
        if self._report is None:
            files = self._named()
            seconds, resumed = time.monotonic() - self._started, sum(run.resumed for run in self._runs)
            self._report = Report(files, seconds, self.written, resumed, traffic=self._plan.source.traffic)
        return self._report

    def _named(self) -> tuple[FileReport, ...]:
        plan, settings, reports = self._plan, self._settings, []
        for run in self._runs:
            if not run.is_named:
                run.complete()
            sha256 = run.sha256() if settings.sha256 else ""
            reports.append(FileReport(run.job.final, run.file.size, run.tally.results, sha256, nodes=dict(run.nodes)))
        plan.source.check_unchanged(plan.sources)
        for run, report in reversed([*zip(self._runs, reports, strict=True)]):
            run.refuse_taken()
            run.give_name(make_manifest(plan, run.job, run.header_digest, report) if settings.manifest else None)
        self._destination.settle()
        return tuple(reports)


def _endings(
    outputs: Sequence[Output], runs: Sequence[OutputRun], destination: Destination, started: float
) -> list[_Ending]:
    left = iter(runs)
    return [_Ending(output, [next(left) for _ in output.plan.files], destination, started) for output in outputs]


class _Work(NamedTuple):
    """What is at work on the files, and what is done about each."""

    joint: Joint
    worker: Worker
    executor: Executor
    runs: Sequence[OutputRun]
    endings: Sequence[_Ending]
    progress: Progress

    def ending_of_files(self) -> list[_Ending]:
        """The ending that each file belongs to."""
        pairs = zip(self.endings, self.joint.plans, strict=True)
        return [ending for ending, plan in pairs for _ in plan.files]


def _make(work: _Work, destination: Destination) -> None:
    """Has every unfinished piece made, and records them as they come; of several plans those that are whole end.

    OutputError if the executor has not had every task carried out.
    """
    runs, ending_of = work.runs, work.ending_of_files()
    # Another executor may do a task twice, and then writes to files of any name once more.
    early = len(work.endings) > 1 and isinstance(work.executor, Threads)

    def unfinished(file: int, number: int) -> bool:
        return not runs[file].is_named and not runs[file].tally.is_finished(number)

    pause = min(_RARELY, _RECORD_SECONDS * len(runs))
    due = time.monotonic() + pause
    tasks = windows(work.joint, unfinished, by_outputs=destination.by_outputs)
    with _recorded_to_the_last(runs), closing(_made(work.worker, tasks, work.executor, destination)) as results:
        for result in results:
            run, ending = runs[result.file], ending_of[result.file]
            if result.parts:
                run.take_parts(result.parts)
            if run.tally.is_finished(result.number):
                continue  # the executor has done a task twice
            _note(run, result)
            ending.written += result.nbytes
            work.progress(result.nbytes)
            if early and not run.unfinished and ending.is_due:
                _record(runs, last=True)
                ending.finish()
            if time.monotonic() > due:
                _record(runs)
                due = time.monotonic() + pause
    for run in runs:
        if not run.is_named and run.unfinished:
            found = f"the executor left {run.unfinished} of {len(run.file.tensors)} tensors unfinished"
            raise OutputError(run.job.final, found, "run again with `resume=True`, or with another executor")


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
