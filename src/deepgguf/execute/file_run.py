"""One output file on its way: its part, its journal, and what is already there from an interrupted run."""

import os
import threading
from collections.abc import Mapping

import xxhash

from deepgguf.errors import DeepggufError, OutputError, UsageError
from deepgguf.execute.disk import Disk
from deepgguf.execute.journal import Finished, Journal, JournalHeader, read_journal, reopen_journal, start_journal
from deepgguf.execute.part_file import PartFile, Paths
from deepgguf.execute.piece import Counts
from deepgguf.execute.tally import Tally
from deepgguf.plan.schema import PlannedFile


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

    def still_there(self, number: int, tensor: int, offset: int, nbytes: int) -> bool:
        """Whether a piece that the journal claims is really in the part; if so it counts as finished."""
        claim = self.claimed.get(number)
        if claim is None or self.part is None:
            return False
        if xxhash.xxh3_128_digest(self.part.read(tensor, offset, nbytes)) != claim.digest:
            return False
        self.tally.finish(claim)
        return True

    def finish(self, number: int, digest: bytes, counts: Counts) -> None:
        """Notes a piece that has just been written."""
        finished = Finished(number, digest, counts)
        with self._lock:
            self._pending.append(finished)
        self.tally.finish(finished)

    def record(self) -> None:
        """Syncs the data written so far, then says so in the journal."""
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
    disk: Disk, paths: Paths, file: PlannedFile, tally: Tally, header: JournalHeader, resume: str
) -> FileRun:
    """Starts a file, or takes up what is there, as `resume` says ("", "resume", "restart").

    OutputError if something is there and `resume` is "", or if it is of another plan or its sources have changed.
    """
    left = os.path.lexists(paths.part) or os.path.lexists(paths.journal)
    if left and not resume:
        advice = "--resume goes on with it, --restart discards it"
        raise OutputError(paths.part, "an interrupted run, or one at work, left this part", advice)
    if resume == "resume" and os.path.lexists(paths.journal):
        taken_up = _take_up(disk, paths, file, tally, header)
        if taken_up:
            return taken_up
    if os.path.lexists(paths.part):
        PartFile.discard(disk, paths, file)
    disk.remove(paths.journal)
    part = PartFile.create(disk, paths, file)
    try:
        return FileRun(paths, file, tally, part, start_journal(disk, paths.journal, header), {})
    except DeepggufError:
        part.close()
        disk.remove(paths.part)
        raise


def _take_up(disk: Disk, paths: Paths, file: PlannedFile, tally: Tally, header: JournalHeader) -> FileRun | None:
    """The interrupted run in `paths`; None if its part is gone without having become the final file."""
    found, finished, end = read_journal(paths.journal)
    if found.plan != header.plan:
        raise OutputError(paths.journal, "belongs to another plan (other source, target, type or version)",
                          "run the command that began it, or discard it with --restart")  # fmt: skip
    if found.sources != header.sources:
        raise OutputError(paths.journal, "the source files have changed since", "discard it with --restart")
    if not os.path.lexists(paths.part):
        return FileRun(paths, file, tally, None, None, {}) if paths.final.exists() else None
    part = PartFile.reopen(disk, paths, file)
    try:
        journal = reopen_journal(disk, paths.journal, end)
    except DeepggufError:
        part.close()
        raise
    return FileRun(paths, file, tally, part, journal, {f.number: f for f in finished if f.number < tally.pieces})


def refuse_existing(paths: Paths, *, overwrite: bool) -> None:
    """UsageError if the final name is taken and may not be replaced, or is no regular file."""
    final = paths.final
    if final.is_symlink() or (final.exists() and not final.is_file()):
        kind = "a symlink" if final.is_symlink() else "not a regular file"
        raise UsageError(final, f"is {kind}", "give another output with -o")
    if final.exists() and not overwrite:
        raise UsageError(final, "exists", "replace it with --overwrite, or give another output with -o")
