"""Folders of this machine as the destination of files: parts, journals and names on the disk."""

from collections.abc import Sequence

from deepgguf.executors.executor import Executor, Progress
from deepgguf.executors.threads import Threads
from deepgguf.formats.manifest import Manifest, read_manifest
from deepgguf.run.destination import Destination
from deepgguf.run.disk import Disk
from deepgguf.run.file_job import Output, jobs_of
from deepgguf.run.file_run import FileRun, Opener, has_name
from deepgguf.run.manifest import vouches_for
from deepgguf.run.outputs import check_outputs, folders_of, resumes_named
from deepgguf.run.settings import Settings


class Folders(Destination):
    """The folders that the settings name."""

    def __init__(self, outputs: Sequence[Output], disk: Disk) -> None:
        self._outputs, self._disk = outputs, disk
        self._jobs = [job for output in outputs for job in jobs_of(output.plan, output.settings.folder)]
        self._runs: list[FileRun] = []

    @property
    def _settings(self) -> Settings:
        return self._outputs[0].settings

    def check(self) -> None:
        """Names that are taken, and the room on the disks; folders that are to be made are."""
        check_outputs(self._outputs, self._jobs)
        self._named = resumes_named(self._settings, self._jobs)
        for folder in folders_of(self._jobs):
            if not folder.is_dir():
                self._disk.make_folder(folder)

    def open(self, number: int, executor: Executor, progress: Progress) -> FileRun:
        """See `Destination.open`."""
        opener = Opener(self._disk, self._settings, executor, progress, named=self._named)
        run = opener.open(self._jobs[number])
        self._runs.append(run)
        # Only of this process's own threads is it certain that what they wrote can be read here at once.
        if self._settings.sha256 and isinstance(executor, Threads):
            run.follow()
        return run

    def finished(self, number: int) -> Manifest | None:
        """See `Destination.finished`."""
        job = self._jobs[number]
        if not job.paths.final.parent.is_dir() or any(map(self._disk.exists, job.paths.left)):
            return None
        manifest = read_manifest(job.paths.manifest)
        return manifest if manifest and vouches_for(manifest, job) and has_name(job) else None

    def settle(self) -> None:
        """Syncs the folders."""
        for folder in folders_of(self._jobs):
            self._disk.sync_folder(folder)

    def finish(self) -> None:
        """Removes the journals."""
        for run in self._runs:
            run.remove_journal()

    def close(self) -> None:
        """Nothing is open here that the runs do not close."""
