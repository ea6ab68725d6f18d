"""S3, or what speaks it, as the destination of a plan's files."""

import uuid
from collections.abc import Iterator, Sequence

import msgspec

from deepgguf.errors import OutputError, UsageError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.formats.manifest import Manifest, parse_manifest
from deepgguf.planning.schema import Plan
from deepgguf.planning.windows import Window
from deepgguf.run.address import S3Address
from deepgguf.run.destination import Destination, Span
from deepgguf.run.file_job import FileJob, jobs_of
from deepgguf.run.journal import Finished, foreign_journal
from deepgguf.run.manifest import vouches_for
from deepgguf.run.s3.bucket import Bucket, Object
from deepgguf.run.s3.far_parts import by_parts
from deepgguf.run.s3.names import LONGEST_MANIFEST, MARK, Names, refuse_existing
from deepgguf.run.s3.parts import Uploads, part_bytes
from deepgguf.run.s3.upload_journal import UploadHead, decode_upload
from deepgguf.run.s3.upload_run import UploadRun, no_sha256
from deepgguf.run.settings import Settings


class S3Folder(Destination):
    """All that lies below an address."""

    by_outputs = True
    shares_files = False

    def __init__(self, plan: Plan, address: S3Address, settings: Settings) -> None:
        """Connects to nothing yet."""
        self._plan, self._settings = plan, settings
        self._bucket = Bucket(address.bucket)
        self._uploads = Uploads(self._bucket)
        self._jobs = jobs_of(plan, address)
        self._runs: list[UploadRun] = []

    def check(self) -> None:
        """The bucket, and names that are taken; whether there is room, nobody can tell."""
        if self._settings.sha256:
            raise no_sha256()
        for job in self._jobs:
            self._refuse_inputs(job)
            if self._settings.left_part != "resume":
                refuse_existing(self._bucket, job, overwrite=self._settings.overwrite)

    def open(self, number: int, executor: Executor, progress: Progress) -> UploadRun:
        """See `Destination.open`; nothing is read back, for S3 has checked what it took."""
        job = self._jobs[number]
        names = _names(job)
        journal, uploads = self._bucket.get(names.journal), self._bucket.uploads(names.final)
        if (journal or uploads) and not self._settings.left_part:
            advice = "resume it with `resume=True`, or discard it with `restart=True`"
            raise OutputError(job.final, "an interrupted run, or one at work, left an upload of this", advice)
        run = None
        if self._settings.left_part == "resume":
            run = self._resume(job, journal, uploads, progress)
        if run is None:
            refuse_existing(self._bucket, job, overwrite=self._settings.overwrite)
            run = self._start(job, uploads)
        self._runs.append(run)
        return run

    def finished(self, number: int) -> Manifest | None:
        """See `Destination.finished`."""
        job = self._jobs[number]
        names = _names(job)
        there = self._bucket.sizes(names.final)
        if there.get(names.final) != job.file.size or names.journal in there:
            return None
        found = self._bucket.get(names.manifest) if there.get(names.manifest, 0) <= LONGEST_MANIFEST else None
        manifest = parse_manifest(found.content) if found else None
        return manifest if manifest and vouches_for(manifest, job) else None

    def for_far_writers(self, windows: Iterator[Window]) -> Iterator[Span]:
        """See `Destination.for_far_writers`."""
        return by_parts(windows, [part_bytes(job.file.size) for job in self._jobs])

    def settle(self) -> None:
        """Nothing: what S3 has answered is so."""

    def finish(self) -> None:
        """Removes the journals: all in one request, for a file whose journal alone is gone looks like another's."""
        self._bucket.remove(*(run.names.journal for run in self._runs))

    def close(self) -> None:
        """Waits for what is under way."""
        self._uploads.close()
        self._bucket.close()

    def _start(self, job: FileJob, uploads: Sequence[str]) -> UploadRun:
        names, mark = _names(job), uuid.uuid4().hex
        for upload in uploads:
            self._bucket.abort(names.final, upload)
        self._bucket.remove(names.journal)
        upload = self._bucket.start(names.final, {MARK: mark})
        run = UploadRun(job, self._settings, self._uploads, UploadHead(job.header, upload, mark, {}), named=False)
        try:
            run.start()
        except BaseException:
            self._bucket.abort(names.final, upload)
            raise
        return run

    def _resume(
        self, job: FileJob, journal: Object | None, uploads: Sequence[str], progress: Progress
    ) -> UploadRun | None:
        """The interrupted run; None if there is nothing that could be resumed."""
        names, where = _names(job), job.final.with_name(f"{job.final.name}.part.journal")
        if journal is None:
            if any(self._bucket.parts(names.final, upload) for upload in uploads):
                found = "an upload of this has no journal, which says what of it can be relied on"
                raise OutputError(job.final, found, "discard it with `restart=True`")
            return None
        head, finished = decode_upload(where, journal.content)
        if head.run != job.header:
            raise foreign_journal(where, head.run, job.header)
        there = self._bucket.parts(names.final, head.upload)
        if there is None:
            return self._resume_named(job, journal, head, finished, progress)
        size, nbytes = job.file.size, part_bytes(job.file.size)
        whole = {number: min(nbytes, size - (number - 1) * nbytes) for number in there}
        same = {n: tag for n, tag in head.parts.items() if n in there and there[n] == (tag, whole[n])}
        head = msgspec.structs.replace(head, parts=same)
        run = UploadRun(job, self._settings, self._uploads, head, named=False)
        run.resume(journal, finished, progress)
        return run

    def _resume_named(
        self, job: FileJob, journal: Object, head: UploadHead, finished: Sequence[Finished], progress: Progress
    ) -> UploadRun:
        """The object that the upload became. OutputError if it became none."""
        whole = self._bucket.metadata(_names(job).final)
        if whole is None or whole[0] != job.file.size or whole[1].get(MARK) != head.mark:
            gone = "the upload is gone: somebody, or a rule of the bucket's, has removed it"
            raise OutputError(job.final, gone, "start over with `restart=True`")
        run = UploadRun(job, self._settings, self._uploads, head, named=True)
        run.resume(journal, finished, progress)
        if run.unfinished:
            found = "the object is whole, but its journal is damaged"
            raise OutputError(job.final, found, "look at it (`verify`), or start over with `restart=True`")
        return run

    def _refuse_inputs(self, job: FileJob) -> None:
        plan = self._plan
        inputs = {f"{plan.source.place}/{source.name}" for source in plan.sources}
        if plan.importance:
            inputs.add(f"{plan.importance.files.place}/{plan.importance.file.name}")
        if str(job.final) in inputs:
            raise UsageError(job.final, "is one of the inputs", "give another `output`")


def _names(job: FileJob) -> Names:
    assert isinstance(job.final, S3Address)
    return Names(job.final)
