"""A plan carried out: pieces in parallel, journalled, the parts completed, and only then given their names."""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from deepgguf.errors import CheckpointError, OutputError, UsageError
from deepgguf.executors.threads import Buffers, run_in_threads
from deepgguf.files.local import Sources
from deepgguf.formats.gguf.types import TensorInfo
from deepgguf.planning.identity import file_identity
from deepgguf.planning.pieces import piece_at
from deepgguf.planning.schema import Plan
from deepgguf.run.disk import Disk
from deepgguf.run.file_run import FileRun, open_file_run, refuse_existing
from deepgguf.run.journal import JournalHeader
from deepgguf.run.manifest import make_manifest
from deepgguf.run.part_file import Paths
from deepgguf.run.piece import Importance, make_piece
from deepgguf.run.settings import FileReport, Report, Settings
from deepgguf.run.tally import Tally

Progress = Callable[[int], None]
Observe = Callable[[TensorInfo, NDArray[np.uint8], NDArray[np.float32] | None], None]

_RECORD_SECONDS = 1.0  # how much work a crash may cost


class _Task(NamedTuple):
    run: FileRun
    number: int


def execute(
    plan: Plan,
    settings: Settings,
    *,
    disk: Disk | None = None,
    importance: Importance | None = None,
    importance_digest: str = "",
    progress: Progress = lambda nbytes: None,
    observe: Observe | None = None,
) -> Report:
    """Writes the files of `plan` into `settings.folder`.

    `progress` is called with the output bytes of every piece, `observe` with every piece that was made; both from any
    thread. The result is the same bytes for any number of jobs and after any interruption.

    Errors: CheckpointError if the source is at fault, then nothing is left; OutputError if reading or writing failed,
    then part and journal stay for `resume`; UsageError if an output exists.
    """
    started, disk = time.monotonic(), disk or Disk()
    paths = [Paths(settings.folder / file.name) for file in plan.files]
    _check_outputs(plan, paths, settings)
    identities = [file_identity(plan, file, importance_digest) for file in plan.files]
    with ExitStack() as stack:
        sources = stack.enter_context(Sources(plan.sources))
        runs: list[FileRun] = []
        stack.enter_context(_keep_or_discard(disk, runs))
        _open_runs(plan, disk, paths, identities, settings, runs)
        work = _Work(sources, plan.block, importance, progress, observe)
        with _recorder(runs, work.failures):
            run_in_threads(settings.jobs, _tasks(runs), work)
        reports = _finish(plan, disk, sources, runs, identities, settings)
    return Report(tuple(reports), time.monotonic() - started, work.written, work.found)


class _Work:
    """What a thread does with a piece; `written` and `found` count the bytes made now and those from before."""

    def __init__(
        self,
        sources: Sources,
        block: tuple[int, int],
        importance: Importance | None,
        progress: Progress,
        observe: Observe | None,
    ) -> None:
        self._sources, self._block, self._importance = sources, block, importance
        self._progress, self._observe = progress, observe
        self._lock = threading.Lock()
        self.failures: list[Exception] = []
        self.written = self.found = 0

    def __call__(self, task: _Task, buffers: Buffers) -> None:
        """Makes and writes the piece, unless an interrupted run has left it whole."""
        run, number = task
        if self.failures:
            raise self.failures[0]
        tensor, index = run.tally.locate(number)
        planned = run.file.tensors[tensor]
        piece = piece_at(planned, run.tally.cuts[tensor], index)
        there = run.part is not None and run.still_there(number, run.part.fd)
        if not there and run.part:
            made = make_piece(planned, piece, self._sources.readinto, self._block, buffers, self._importance)
            if self._observe:
                self._observe(planned.info, made.out, made.floats)
            digest = xxhash.xxh3_128_digest(made.out.data)
            run.part.write(made.out.data, tensor, piece.offset)
            run.finish(number, digest, made.counts)
        with self._lock:
            self.found += piece.nbytes if there else 0
            self.written += 0 if there else piece.nbytes
        self._progress(piece.nbytes)


def _open_runs(
    plan: Plan, disk: Disk, paths: Sequence[Paths], identities: Sequence[str], settings: Settings, runs: list[FileRun]
) -> None:
    """Starts or takes up every file, into `runs`, so that those already open are closed if one cannot be."""
    named = settings.resume == "resume" and _have_names(paths)
    times = tuple((source.name, source.mtime_ns) for source in plan.sources)
    for file, path, identity in zip(plan.files, paths, identities, strict=True):
        tally = Tally(file, plan.block[0], allow_nonfinite=settings.allow_nonfinite)
        runs.append(open_file_run(disk, path, file, tally, JournalHeader(identity, times), settings, named=named))
    disk.sync_folder(settings.folder)


def _tasks(runs: Sequence[FileRun]) -> Iterator[_Task]:
    for run in runs:
        if run.part:
            for number in range(run.tally.pieces):
                yield _Task(run, number)


def _check_outputs(plan: Plan, paths: Sequence[Paths], settings: Settings) -> None:
    """UsageError if a name is taken, OutputError if there is not room enough."""
    folder = settings.folder
    if not folder.is_dir():
        raise UsageError(folder, "no such folder", "make it, or give another `output`")
    sources = {source.path for source in plan.sources}
    for path in paths:
        if os.path.realpath(path.final) in sources:
            raise UsageError(path.final, "is one of the inputs", "give another `output`")
        if path.part.exists() or not (settings.resume == "resume" and _have_names(paths)):
            refuse_existing(path, overwrite=settings.overwrite)
    taken = sum(path.part.stat().st_blocks * 512 for path in paths if path.part.is_file())
    free = shutil.disk_usage(folder).free
    if plan.size > free + taken:
        found = f"{plan.size:,} bytes are needed, {free:,} are free"
        raise OutputError(folder, found, "free space, give another folder as `output`, or choose a smaller `type`")


def _have_names(paths: Sequence[Paths]) -> bool:
    """Whether an interrupted run came as far as the final names: a journal is left, its part is not."""
    return any(path.journal.exists() and not os.path.lexists(path.part) for path in paths)


@contextmanager
def _recorder(runs: Sequence[FileRun], failures: list[Exception]) -> Iterator[None]:
    """Records finished pieces now and then, in a thread of its own, and once more at the end, whatever happened.

    What goes wrong in that thread is put into `failures`, and raised at the end.
    """
    stop, ended = threading.Event(), threading.Event()

    def record() -> None:
        try:
            while not stop.wait(_RECORD_SECONDS):
                for run in runs:
                    run.record()
        except Exception as error:
            failures.append(error)
        finally:
            ended.set()

    threading.Thread(target=record, name="deepgguf-journal", daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        try:
            ended.wait()
        finally:  # a signal's exception must not leave it at work on files that are closed next
            ended.wait()
        if not failures:
            for run in runs:
                run.record()
    if failures:
        raise failures[0]


@contextmanager
def _keep_or_discard(disk: Disk, runs: Sequence[FileRun]) -> Iterator[None]:
    """Closes the runs. After an error, keeps what can be gone on with, and removes what cannot."""
    try:
        yield
    except BaseException as error:
        for run in runs:
            if isinstance(error, CheckpointError) or (run.part and not run.recorded):
                run.discard(disk)
            run.close()
        raise
    for run in runs:
        run.close()


def _finish(
    plan: Plan, disk: Disk, sources: Sources, runs: Sequence[FileRun], identities: Sequence[str], settings: Settings
) -> list[FileReport]:
    """Completes every part, then renames: the mmproj before the text, the first file of a split set last."""
    reports = []
    for run, identity in zip(runs, identities, strict=True):
        if run.part:
            run.part.complete()
        sha256 = _sha256(run) if settings.sha256 else ""
        if run.part and settings.manifest:
            manifest = make_manifest(plan, run.file, identity, run.part.header_digest, run.tally.results, sha256)
            _write_whole(disk, run.paths, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        results = tuple(run.tally.results[i] for i in sorted(run.tally.results))
        reports.append(FileReport(run.paths.final, run.file.size, results, sha256))
    sources.check_unchanged()
    for run in reversed(runs):
        if run.part:
            if not settings.overwrite:
                refuse_existing(run.paths, overwrite=False)
            disk.rename(run.paths.part, run.paths.final)
        if run.paths.manifest_part.exists():
            disk.rename(run.paths.manifest_part, run.paths.manifest)
        elif run.part and not settings.manifest:
            disk.remove(run.paths.manifest)  # that of the file which was replaced
    disk.sync_folder(settings.folder)
    for run in runs:
        disk.remove(run.paths.journal)
    return reports


def _write_whole(disk: Disk, paths: Paths, data: bytes) -> None:
    disk.remove(paths.manifest_part)
    fd = disk.create(paths.manifest_part)
    try:
        disk.write(fd, paths.manifest_part, memoryview(data), 0)
        disk.sync(fd, paths.manifest_part)
    finally:
        os.close(fd)


def _sha256(run: FileRun) -> str:
    path = run.paths.part if run.part else run.paths.final
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
