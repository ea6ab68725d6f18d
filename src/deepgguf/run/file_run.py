"""One output file on its way: its part, its journal, and what is already there from an interrupted run."""

import os
from collections.abc import Mapping
from contextlib import ExitStack, closing

import msgspec
import xxhash

from deepgguf.errors import OutputError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.formats.manifest import Manifest, read_manifest
from deepgguf.run.claims import read_pieces, verified_claims
from deepgguf.run.destination import FarWriter, OutputRun
from deepgguf.run.disk import Disk, must_be_at, must_be_ours
from deepgguf.run.file_job import FileJob
from deepgguf.run.following_hash import FollowingHash, sha256_of, unreadable
from deepgguf.run.journal import Finished, Journal, JournalHeader, foreign_journal, reopen_journal, start_journal
from deepgguf.run.manifest import is_of, write_manifest
from deepgguf.run.outputs import refuse_existing, refuse_manifest
from deepgguf.run.part_file import PartFile, PartWriter, paddings, planned_header
from deepgguf.run.result import Result
from deepgguf.run.settings import Settings

_NOT_OURS = "move it away, or discard it with `restart=True`"


class FileRun(OutputRun):
    """A file that is being written, or (with `part` None) one that an interrupted run had already renamed."""

    def __init__(
        self, disk: Disk, job: FileJob, settings: Settings, part: PartFile | None, journal: Journal | None
    ) -> None:
        super().__init__(job, settings)
        self.paths, self._disk, self._overwrite = job.paths, disk, settings.overwrite
        self.part, self._journal = part, journal
        self._hash: FollowingHash | None = None
        self._next = 0  # the first piece that is not finished, as far as has been looked

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

    def recall(self, header: JournalHeader) -> bool:
        """Whether the file under the final name is the one of its manifest, and that is of this plan; as `resume`."""
        manifest = read_manifest(self.paths.manifest)
        if manifest is None or not is_of(manifest, header):
            return False
        for piece, nbytes in read_pieces(self.paths.final, self.numbering):
            self.tally.finish(piece)
            self.resumed += nbytes
        return [result.digest for result in self.tally.results] == [tensor.digest for tensor in manifest.tensors]

    def follow(self) -> None:
        """Has the SHA-256 of the file keep up with what is written of it from here on."""
        if self.part:
            self._hash = FollowingHash(self.part.fd, planned_header(self.file), self.file.size)

    def sha256(self) -> str:
        """The SHA-256 of the file, which is complete. OutputError if it cannot be read."""
        path = self.paths.part if self.part else self.paths.final
        if not self._hash:
            return sha256_of(path)
        try:
            return self._hash.hexdigest()
        except OSError as error:
            raise unreadable(path, error) from None

    @property
    def is_named(self) -> bool:
        """Whether there is no part."""
        return self.part is None

    def finish(self, result: Result) -> None:
        """Notes a piece whose bytes have just been written."""
        super().finish(result)
        if self._hash:
            self._hash.follow(self._whole())

    def _whole(self) -> int:
        """The byte up to which the file is whole from its beginning on."""
        count = self.numbering.count
        while self._next < count and self.tally.is_finished(self._next):
            self._next += 1
        return self.file.size if self._next == count else self.numbering.offset(self.numbering.place(self._next))

    def writer(self) -> PartWriter:
        """Opens the part by itself, wherever it is sent."""
        return PartWriter(self._disk, self.paths.part, self.part.inode if self.part else 0)

    def far_writer(self) -> FarWriter:
        """See `PartFile.far_writer`."""
        assert self.part
        return self.part.far_writer()

    def write(self, data: memoryview, offset: int) -> None:
        """See `OutputRun.write`."""
        if self.part:
            self.part.write(data, offset)

    def record(self, *, last: bool = False) -> None:
        """Syncs the data written so far, then says so in the journal; that is always worth its cost.

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
        if self._hash:
            self._hash.close()
        if self.part:
            self.part.close()
        if self._journal:
            self._journal.close()

    @property
    def header_digest(self) -> str:
        """The XXH3-128 of all bytes before the data."""
        return self.part.header_digest if self.part else xxhash.xxh3_128_hexdigest(planned_header(self.file))

    def remove_journal(self) -> None:
        """Removes the journal of a file that has its name."""
        if self._journal:
            self._journal.remove()

    def complete(self) -> None:
        """See `PartFile.complete`."""
        if self.part:
            self.part.complete()

    def refuse_taken(self) -> None:
        """What was there before the work may have been replaced."""
        if self.part and not self._overwrite:
            refuse_existing(self.paths, overwrite=False)
        refuse_manifest(self.job, overwrite=True)

    def give_name(self, manifest: Manifest | None) -> None:
        """See `OutputRun.give_name`."""
        with ExitStack() as opened:
            if manifest:
                fd = write_manifest(self._disk, self.paths, manifest)
                opened.callback(os.close, fd)
            if self.part:
                self.part.give_name()
            if manifest:
                must_be_at(fd, self.paths.manifest_part)
                self._disk.rename(self.paths.manifest_part, self.paths.manifest)
            else:
                self._disk.remove(self.paths.manifest)
                self._disk.remove(self.paths.manifest_part)

    def discard(self) -> None:
        """Removes part and journal, for a run that is not worth resuming."""
        if self.part and self.part.remove():
            self._disk.remove(self.paths.manifest_part)
        self.remove_journal()


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
        left = [path for path in paths.left if self._disk.exists(path)]
        if left and not self._settings.left_part:
            advice = "resume it with `resume=True`, or discard it with `restart=True`"
            raise OutputError(left[0], "an interrupted run, or one at work, left this part", advice)
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
        part = PartFile.create(self._disk, paths, job.file)
        try:  # whoever has the part has the names beside it: what is there may be another run's before
            self._disk.remove(paths.journal)
            self._disk.remove(paths.manifest_part)
            return FileRun(self._disk, job, self._settings, part, start_journal(self._disk, paths.journal, job.header))
        except BaseException:
            part.close()
            self._disk.remove(paths.part)
            raise

    def _resume(self, job: FileJob) -> FileRun | None:
        """The interrupted run; None if there is nothing that could be resumed."""
        paths = job.paths
        if not self._disk.exists(paths.part):
            return self._resume_named(job)
        with ExitStack() as opened:  # closed again unless the run is returned
            part = PartFile.reopen(self._disk, paths, job.file)
            opened.callback(part.close)
            must_be_ours(part.fd, paths.part)
            journal, claimed = _own_journal(self._disk, job) if self._disk.exists(paths.journal) else (None, {})
            run = FileRun(self._disk, job, self._settings, part, journal)
            opened.callback(run.close)
            if not journal:
                if part.is_untouched:
                    return None
                found = "has no journal, which says what of it can be relied on"
                raise OutputError(paths.part, found, f"bring the journal back, {_NOT_OURS}")
            run.resume(claimed, self._executor, self._progress)
            if not run.resumed and part.is_another:
                raise OutputError(paths.part, "holds nothing that this run wrote", _NOT_OURS)
            part.clear()
            part.prepare()
            journal.cut()
            opened.pop_all()
        return run

    def _resume_named(self, job: FileJob) -> FileRun | None:
        """The final file, if it holds every piece as the journal has it, or the manifest once the journal is gone.

        A journal without a part may also stand beside an older file that was to be replaced, and an older file of the
        same size and header beside files of the interrupted run.
        """
        journal, claimed = _own_journal(self._disk, job) if self._disk.exists(job.paths.journal) else (None, {})
        run = FileRun(self._disk, job, self._settings, None, journal)
        with ExitStack() as opened:
            opened.callback(run.close)
            if not has_name(job):
                return None
            if journal:
                run.resume(claimed, self._executor, lambda nbytes: None)
            elif not (self._named and run.recall(job.header)):
                return None
            if run.unfinished:
                return None
            opened.pop_all()
        self._progress(run.resumed)  # not before it is known that none of it is made again
        return run


def _own_journal(disk: Disk, job: FileJob) -> tuple[Journal | None, dict[int, Finished]]:
    """The journal and its claims, if it is of this version, plan and sources; OutputError if not.

    None and no claims if the interrupted run had not yet written its first line.
    """
    path = job.paths.journal
    journal, found, finished = reopen_journal(disk, path, job.numbering.count)
    if found and msgspec.structs.replace(found, source=job.header.source) == job.header:
        return journal, {claim.number: claim for claim in finished if claim.number < job.numbering.count}
    journal.close()
    if found is None:
        return None, {}
    raise foreign_journal(path, found, job.header)


def has_name(job: FileJob) -> bool:
    """Whether the final name is that of a file of this size with this header and zeros between its tensors."""
    final, file = job.paths.final, job.file
    if final.is_symlink() or not final.is_file() or final.stat().st_size != file.size:
        return False
    with final.open("rb") as found:
        if found.read(file.data_offset) != planned_header(file):
            return False
        return not any(any(os.pread(found.fileno(), nbytes, offset)) for offset, nbytes in paddings(file))
