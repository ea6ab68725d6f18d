"""One output file on its way: its part, its journal, and what is already there from an interrupted run."""

import os
import threading
from collections.abc import Mapping

import xxhash

from deepgguf.errors import DeepggufError, OutputError, UsageError
from deepgguf.formats.gguf.encode import encode_header
from deepgguf.planning.pieces import piece_at
from deepgguf.planning.schema import PlannedFile
from deepgguf.run.disk import Disk
from deepgguf.run.journal import Finished, Journal, JournalHeader, read_journal, reopen_journal, start_journal
from deepgguf.run.part_file import PartFile, Paths
from deepgguf.run.piece import Counts
from deepgguf.run.settings import Settings
from deepgguf.run.tally import Tally


class FileRun:
    """A file that is being written, or (with `part` None) one that an interrupted run had already renamed."""

    def __init__(
        self, paths: Paths, file: PlannedFile, tally: Tally, part: PartFile | None, journal: Journal | None,
        claimed: Mapping[int, Finished],
    ) -> None:  # fmt: skip
        self.paths, self.file, self.tally, self.part, self.journal = paths, file, tally, part, journal
        self.claimed = claimed
        self.recorded = len(claimed)
        self._pending: list[Finished] = []
        self._lock = threading.Lock()

    def still_there(self, number: int, fd: int) -> bool:
        """Whether a piece that the journal claims is really in the file `fd`; if so it counts as finished."""
        if not self._holds(fd, number):
            return False
        self.tally.finish(self.claimed[number])
        return True

    def _holds(self, fd: int, number: int) -> bool:
        claim = self.claimed.get(number)
        if claim is None:
            return False
        tensor, index = self.tally.locate(number)
        planned = self.file.tensors[tensor]
        piece = piece_at(planned, self.tally.cuts[tensor], index)
        try:
            data = os.pread(fd, piece.nbytes, self.file.data_offset + planned.info.offset + piece.offset)
        except OSError as error:
            found = f"reading back what an interrupted run wrote failed: {error.strerror}"
            raise OutputError(self.paths.part, found, "check the disk, then discard it with `restart=True`") from None
        return xxhash.xxh3_128_digest(data) == claim.digest

    def is_whole(self) -> bool:
        """Whether the final file holds every piece as the journal has it; then all of them count as finished.

        A journal without a part may also stand beside an older file that was to be replaced.
        """
        fd = os.open(self.paths.final, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not all(self._holds(fd, number) for number in range(self.tally.pieces)):
                return False
        finally:
            os.close(fd)
        for number in range(self.tally.pieces):
            self.tally.finish(self.claimed[number])
        return True

    def finish(self, number: int, digest: bytes, counts: Counts) -> None:
        """Notes a piece that has just been written."""
        finished = Finished(number, digest, counts)
        with self._lock:
            self._pending.append(finished)
        self.tally.finish(finished)

    def record(self) -> None:
        """Syncs the data written so far, then says so in the journal; OutputError if either fails."""
        with self._lock:
            pending, self._pending = self._pending, []
        if pending and self.part and self.journal:
            self.part.sync()
            self.journal.append(pending)
            self.recorded += len(pending)

    def close(self) -> None:
        """Lets go of part and journal."""
        if self.part:
            self.part.close()
        if self.journal:
            self.journal.close()

    def discard(self, disk: Disk) -> None:
        """Removes part and journal, for a run that is not worth taking up again."""
        disk.remove(self.paths.part)
        disk.remove(self.paths.journal)
        disk.remove(self.paths.manifest_part)


def open_file_run(
    disk: Disk, paths: Paths, file: PlannedFile, tally: Tally, header: JournalHeader, settings: Settings, *, named: bool
) -> FileRun:
    """Starts a file, or takes up what is there, as `settings.resume` says.

    `named` says that an interrupted run had already given the plan's files their final names.

    OutputError if something is there and may not be taken up or discarded, or if it is of another plan or its sources
    have changed; UsageError if the final name is taken.
    """
    left = os.path.lexists(paths.part) or os.path.lexists(paths.journal)
    if left and not settings.resume:
        advice = "resume it with `resume=True`, or discard it with `restart=True`"
        raise OutputError(paths.part, "an interrupted run, or one at work, left this part", advice)
    if settings.resume == "resume":
        taken_up = _take_up(disk, paths, file, tally, header, named=named)
        if taken_up:
            return taken_up
    refuse_existing(paths, overwrite=settings.overwrite)
    if os.path.lexists(paths.part):
        PartFile.discard(disk, paths, file)
    disk.remove(paths.journal)
    disk.remove(paths.manifest_part)
    part = PartFile.create(disk, paths, file)
    try:
        return FileRun(paths, file, tally, part, start_journal(disk, paths.journal, header), {})
    except DeepggufError:
        part.close()
        disk.remove(paths.part)
        raise


def _take_up(
    disk: Disk, paths: Paths, file: PlannedFile, tally: Tally, header: JournalHeader, *, named: bool
) -> FileRun | None:
    """The interrupted run in `paths`; None if there is nothing that could be gone on with."""
    if not os.path.lexists(paths.journal):
        return FileRun(paths, file, tally, None, None, {}) if named and _has_name(paths, file) else None
    if not os.path.lexists(paths.part):
        finished, _ = _read_own_journal(paths, header)
        run = FileRun(paths, file, tally, None, None, {f.number: f for f in finished})
        return run if _has_name(paths, file) and run.is_whole() else None
    part = PartFile.reopen(disk, paths, file)
    try:
        finished, end = _read_own_journal(paths, header)
        if not end:
            part.close()
            return None
        part.prepare()
        journal = reopen_journal(disk, paths.journal, end)
    except DeepggufError:
        part.close()
        raise
    return FileRun(paths, file, tally, part, journal, {f.number: f for f in finished if f.number < tally.pieces})


def _read_own_journal(paths: Paths, header: JournalHeader) -> tuple[list[Finished], int]:
    """Records and their end in the journal, if it is of this plan and these sources; OutputError if not.

    No records and 0 if the interrupted run had not yet written its first line.
    """
    found, finished, end = read_journal(paths.journal)
    if found is None:
        return [], 0
    if found.plan != header.plan:
        raise OutputError(paths.journal, "belongs to another plan (other source, target, type or version)",
                          "run the command that began it, or discard it with `restart=True`")  # fmt: skip
    if found.sources != header.sources:
        raise OutputError(paths.journal, "the source files have changed since", "discard it with `restart=True`")
    return finished, end


def _has_name(paths: Paths, file: PlannedFile) -> bool:
    """Whether the final name holds a file with this header and of this size."""
    if not paths.final.is_file() or paths.final.stat().st_size != file.size:
        return False
    with paths.final.open("rb") as final:
        return final.read(file.data_offset) == encode_header(file.keys, [tensor.info for tensor in file.tensors])


def refuse_existing(paths: Paths, *, overwrite: bool) -> None:
    """UsageError if the final name is taken and may not be replaced, or is no regular file."""
    final = paths.final
    if final.is_symlink() or (final.exists() and not final.is_file()):
        kind = "a symlink" if final.is_symlink() else "not a regular file"
        raise UsageError(final, f"is {kind}", "give another `output`")
    if final.exists() and not overwrite:
        raise UsageError(final, "exists", "replace it with `overwrite=True`, or give another `output`")
