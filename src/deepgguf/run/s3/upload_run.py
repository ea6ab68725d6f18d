"""One file on its way to S3: its upload, its journal. The upload's completion is the rename."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec
import xxhash

from deepgguf.errors import GGUFError, OutputError, UsageError
from deepgguf.executors.executor import Progress
from deepgguf.formats.manifest import Manifest
from deepgguf.run.address import S3Address
from deepgguf.run.destination import OutputRun
from deepgguf.run.file_job import FileJob
from deepgguf.run.journal import Finished, encode_records
from deepgguf.run.manifest import manifest_text
from deepgguf.run.part_file import planned_header
from deepgguf.run.s3.bucket import Bucket, Object
from deepgguf.run.s3.far_parts import FarParts
from deepgguf.run.s3.names import MARK, Names, refuse_existing
from deepgguf.run.s3.parts import Layout, Parts, Target, Uploads
from deepgguf.run.s3.upload_journal import UploadHead, encode_upload
from deepgguf.run.settings import Settings

_SHARE = 100  # the journal is written anew when such a part of the file is there


class UploadRun(OutputRun):
    """A file that is being uploaded, or one that an interrupted run had made an object already."""

    def __init__(self, job: FileJob, settings: Settings, uploads: Uploads, head: UploadHead, *, named: bool) -> None:
        """`head` says which parts are uploaded."""
        super().__init__(job, settings)
        assert isinstance(job.final, S3Address)
        self.names, self._head, self._overwrite = Names(job.final), head, settings.overwrite
        self._bucket: Bucket = uploads.bucket
        self._target, self._layout = Target(self.names.final, head.upload), Layout.of(job.file)
        self._parts, self._named = Parts(uploads, self._target, self._layout, head.parts), named
        self._records, self._parts_recorded = bytearray(), len(head.parts)
        self._tag = ""

    def start(self) -> None:
        """Writes the journal's first version, where none may be."""
        self._tag = self._bucket.put(self.names.journal, encode_upload(self._head, b""), instead_of="")

    def resume(self, journal: Object, finished: Sequence[Finished], progress: Progress) -> None:
        """Counts as finished what the journal has of parts that are there; `resumed` is how many bytes that is."""
        self._tag = journal.tag
        known = [piece for piece in finished if piece.number < self.numbering.count]
        kept = {piece.number: piece for piece in known if self._named or self._is_there(piece)}
        for piece in kept.values():
            self.tally.finish(piece)
            self.resumed += self._range(piece)[1]
        self._records += encode_records([*kept.values()])
        self.recorded = len(kept)
        progress(self.resumed)

    @property
    def is_named(self) -> bool:
        """Whether it is an object."""
        return self._named

    @property
    def header_digest(self) -> str:
        """See `OutputRun.header_digest`."""
        return xxhash.xxh3_128_hexdigest(planned_header(self.file))

    def writer(self) -> Parts:
        """The parts, for threads of this process."""
        return self._parts

    def far_writer(self) -> FarParts:
        """See `OutputRun.far_writer`."""
        return FarParts(self.names.address.bucket, self._target, self._layout)

    def take_parts(self, parts: Mapping[int, str]) -> None:
        """See `OutputRun.take_parts`."""
        self._parts.take(parts)

    def write(self, data: memoryview, offset: int) -> None:
        """See `OutputRun.write`."""
        self._parts.write(data, offset)

    def record(self, *, last: bool = False) -> None:
        """Writes the journal anew, if a part has been uploaded since, and a hundredth of the file unless `last`."""
        if last:
            self._parts.drain()
        parts = self._parts.uploaded - self._parts_recorded
        if parts and (last or parts * self._parts.nbytes >= self.file.size // _SHARE):
            self._write_journal([piece for piece in self._pending if self._is_there(piece)])

    def complete(self) -> None:
        """Every part uploaded, and every piece in the journal: then a later run has only to complete the upload."""
        self._parts.finish()
        self._write_journal(self._pending)

    def sha256(self) -> str:
        """Never: see `no_sha256`."""
        raise no_sha256()

    def refuse_taken(self) -> None:
        """Looks once more for an object of the final name, and for another's manifest."""
        refuse_existing(self._bucket, self.job, overwrite=self._overwrite or self.is_named)

    def give_name(self, manifest: Manifest | None) -> None:
        """Completes the upload: only now there is an object of that name, and it is whole."""
        if not self._named:
            self._bucket.complete(self.names.final, self._head.upload, self._parts.tags)
            found = self._bucket.metadata(self.names.final)
            # An answer that was lost is asked for again, and then there is no such upload any more.
            if found is None or found[0] != self.file.size or found[1].get(MARK) != self._head.mark:
                raise GGUFError(
                    self.job.final, "is not what was uploaded", "see who else writes there, then start over"
                )
        if manifest:
            self._bucket.put(self.names.manifest, manifest_text(manifest))
        else:
            self._bucket.remove(self.names.manifest)

    def discard(self) -> None:
        """Removes upload and journal; where that fails, the next run says that they are there."""
        self._parts.drain()
        with suppress(OutputError):
            self._bucket.abort(self.names.final, self._head.upload)
            self._bucket.remove(self.names.journal)

    def close(self) -> None:
        """Waits for what is under way."""
        self._parts.drain()

    def _write_journal(self, pieces: Sequence[Finished]) -> None:
        """With these pieces too. OutputError if another run has written it meanwhile."""
        records = encode_records(pieces)
        head = msgspec.structs.replace(self._head, parts=self._parts.tags)
        content = encode_upload(head, bytes(self._records) + records)
        self._tag = self._bucket.put(self.names.journal, content, instead_of=self._tag)
        self._records += records
        self._parts_recorded = len(head.parts)
        self.recorded += len(pieces)
        written = {piece.number for piece in pieces}
        self._pending = [piece for piece in self._pending if piece.number not in written]

    def _is_there(self, piece: Finished) -> bool:
        """Whether every part that holds some of it is uploaded."""
        offset, nbytes = self._range(piece)
        return self._parts.holds(offset, offset + nbytes)

    def _range(self, piece: Finished) -> tuple[int, int]:
        place = self.numbering.place(piece.number)
        return self.numbering.offset(place), self.numbering.piece(place).nbytes


def no_sha256() -> UsageError:
    """The error for a choice that a folder can have, and S3 cannot."""
    found = "an upload cannot be read again before it is complete"
    return UsageError("`sha256`", found, "leave it out: every part is checked on arrival")
