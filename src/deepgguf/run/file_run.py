"""One output file on its way: its part, its journal, and what is already there from an interrupted run."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import NamedTuple

from deepgguf.errors import OutputError, UsageError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.formats.gguf.encode import encode_header
from deepgguf.planning.numbering import Numbering
from deepgguf.planning.schema import PlannedFile
from deepgguf.run.claims import verified_claims
from deepgguf.run.disk import Disk
from deepgguf.run.journal import Finished, Journal, JournalHeader, read_journal, reopen_journal, start_journal
from deepgguf.run.part_file import PartFile
from deepgguf.run.paths import Paths
from deepgguf.run.result import Result
from deepgguf.run.settings import Settings
from deepgguf.run.tally import Tally


class FileJob(NamedTuple):
    """A file that is to be made: its names, its plan, the numbers of its pieces, and the head of its journal."""

    paths: Paths
    file: PlannedFile
    numbering: Numbering
    header: JournalHeader


class FileRun:
    """A file that is being written, or (with `part` None) one that an interrupted run had already renamed.

    Only the coordinator changes it; workers know nothing but windows.
    """

    def __init__(self, job: FileJob, settings: Settings, part: PartFile | None, journal: Journal | None) -> None:
        self.paths, self.file, self.numbering = job.paths, job.file, job.numbering
        self.part, self._journal = part, journal
        self.tally = Tally(job.numbering, allow_nonfinite=settings.allow_nonfinite)
        self.resumed = 0
        self.recorded = 0
        self._pending: list[Finished] = []

    def resume(self, claimed: Mapping[int, Finished], executor: Executor, progress: Progress) -> None:
        """Counts as finished what the journal claims and the file holds; `resumed` is how many bytes that is."""
        self.recorded = len(claimed)
        path = self.paths.part if self.part else self.paths.final
        with closing(verified_claims(path, self.numbering, claimed, executor)) as verified:
            for claim in verified:
                if not self.tally.is_finished(claim.number):
                    self.tally.finish(claimed[claim.number])
                    self.resumed += claim.nbytes
                    progress(claim.nbytes)

    @property
    def unfinished(self) -> int:
        """How many tensors have pieces that are still to be made."""
        return len(self.file.tensors) - len(self.tally.results)

    def finish(self, result: Result) -> None:
        """Notes a piece whose bytes have just been written."""
        finished = Finished(result.number, result.digest, result.counts)
        self._pending.append(finished)
        self.tally.finish(finished, result.squares)

    def record(self) -> None:
        """Syncs the data written so far, then says so in the journal.

        OutputError if either fails: then these pieces are never recorded, for a failed fsync is not repeated. After
        any other exception (a signal's) they still can be.
        """
        if not (self._pending and self.part and self._journal):
            return
        try:
            self.part.sync()
            self._journal.append(self._pending)
        except OutputError:
            self._pending = []
            raise
        self.recorded += len(self._pending)
        self._pending = []

    def close(self) -> None:
        """Closes part and journal."""
        if self.part:
            self.part.close()
        if self._journal:
            self._journal.close()

    def discard(self, disk: Disk) -> None:
        """Removes part and journal, for a run that is not worth resuming."""
        disk.remove(self.paths.part)
        disk.remove(self.paths.journal)
        disk.remove(self.paths.manifest_part)


class Opener:
    """Starts files, or resumes what is there, as the settings say."""

    def __init__(self, disk: Disk, settings: Settings, executor: Executor, progress: Progress, *, named: bool) -> None:
        """`named` says that an interrupted run had already given the plan's files their final names."""
        self._disk, self._settings, self._executor = disk, settings, executor
        self._progress, self._named = progress, named

    def open(self, job: FileJob) -> FileRun:
        """The file, ready to be written.

        OutputError if something is there and may not be resumed or discarded, or if it is of another plan or its
        sources have changed; UsageError if the final name is taken.
        """
        paths = job.paths
        left = self._disk.exists(paths.part) or self._disk.exists(paths.journal)
        if left and not self._settings.left_part:
            advice = "resume it with `resume=True`, or discard it with `restart=True`"
            raise OutputError(paths.part, "an interrupted run, or one at work, left this part", advice)
        if self._settings.left_part == "resume":
            resumed = self._resume(job)
            if resumed:
                return resumed
        refuse_existing(paths, overwrite=self._settings.overwrite)
        return self._start(job)

    def _start(self, job: FileJob) -> FileRun:
        paths = job.paths
        if self._disk.exists(paths.part):
            PartFile.discard(self._disk, paths, job.file)
        self._disk.remove(paths.journal)
        self._disk.remove(paths.manifest_part)
        part = PartFile.create(self._disk, paths, job.file)
        try:
            return FileRun(job, self._settings, part, start_journal(self._disk, paths.journal, job.header))
        except BaseException:
            part.close()
            self._disk.remove(paths.part)
            raise

    def _resume(self, job: FileJob) -> FileRun | None:
        """The interrupted run; None if there is nothing that could be resumed."""
        paths = job.paths
        if not self._disk.exists(paths.journal):
            return FileRun(job, self._settings, None, None) if self._named and _has_name(job) else None
        if not self._disk.exists(paths.part):
            return self._resume_renamed(job)
        with ExitStack() as opened:  # closed again unless the run is returned
            part = PartFile.reopen(self._disk, paths, job.file)
            opened.callback(part.close)
            claimed, end = _own_journal(job)
            if not end:
                return None
            part.prepare()
            run = FileRun(job, self._settings, part, reopen_journal(self._disk, paths.journal, end))
            opened.callback(run.close)
            run.resume(claimed, self._executor, self._progress)
            opened.pop_all()
        return run

    def _resume_renamed(self, job: FileJob) -> FileRun | None:
        """The final file, if it holds every piece as the journal has it.

        A journal without a part may also stand beside an older file that was to be replaced.
        """
        claimed, _ = _own_journal(job)
        if not _has_name(job):
            return None
        run = FileRun(job, self._settings, None, None)
        run.resume(claimed, self._executor, lambda nbytes: None)
        if run.unfinished:
            return None
        self._progress(run.resumed)  # not before it is known that none of it is made again
        return run


def _own_journal(job: FileJob) -> tuple[dict[int, Finished], int]:
    """Claims and their end in the journal, if it is of this plan and these sources; OutputError if not.

    No claims and 0 if the interrupted run had not yet written its first line.
    """
    journal = job.paths.journal
    found, finished, end = read_journal(journal)
    if found is None:
        return {}, 0
    if found.plan != job.header.plan:
        raise OutputError(journal, "belongs to another plan (other source, target, type or version)",
                          "run the command that began it, or discard it with `restart=True`")  # fmt: skip
    if found.sources != job.header.sources:
        raise OutputError(journal, "the source files have changed since", "discard it with `restart=True`")
    return {claim.number: claim for claim in finished if claim.number < job.numbering.count}, end


def _has_name(job: FileJob) -> bool:
    """Whether the final name holds a file with this header and of this size."""
    final, file = job.paths.final, job.file
    if not final.is_file() or final.stat().st_size != file.size:
        return False
    with final.open("rb") as found:
        return found.read(file.data_offset) == encode_header(file.keys, [tensor.info for tensor in file.tensors])


def refuse_existing(paths: Paths, *, overwrite: bool) -> None:
    """UsageError if the final name is taken and may not be replaced, or is not a regular file."""
    final = paths.final
    if final.is_symlink() or (final.exists() and not final.is_file()):
        kind = "a symlink" if final.is_symlink() else "not a regular file"
        raise UsageError(final, f"is {kind}", "give another `output`")
    if final.exists() and not overwrite:
        raise UsageError(final, "exists", "replace it with `overwrite=True`, or give another `output`")
