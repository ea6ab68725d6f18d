"""A folder of this machine as the destination of a plan's files: parts, journals and names on the disk."""

from deepgguf.executors.executor import Executor, Progress
from deepgguf.executors.threads import Threads
from deepgguf.formats.manifest import Manifest, read_manifest
from deepgguf.planning.schema import Plan
from deepgguf.run.destination import Destination
from deepgguf.run.disk import Disk
from deepgguf.run.file_job import jobs_of
from deepgguf.run.file_run import FileRun, Opener, has_name
from deepgguf.run.manifest import is_of
from deepgguf.run.outputs import check_outputs, resumes_named
from deepgguf.run.settings import Settings


class Folder(Destination):
    """The folder that the settings name."""

    def __init__(self, plan: Plan, settings: Settings, disk: Disk) -> None:
        self._plan, self._settings, self._disk = plan, settings, disk
        self._jobs = jobs_of(plan, settings.folder)
        self._runs: list[FileRun] = []

    def check(self) -> None:
        """Names that are taken, and the room on the disk."""
        check_outputs(self._plan, self._jobs, self._settings)
        self._named = resumes_named(self._settings, self._jobs)

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
        if any(map(self._disk.exists, job.paths.left)):
            return None
        manifest = read_manifest(job.paths.manifest)
        return manifest if manifest and is_of(manifest, job.header) and has_name(job) else None

    def settle(self) -> None:
        """Syncs the folder."""
        self._disk.sync_folder(self._jobs[0].paths.final.parent)

    def finish(self) -> None:
        """Removes the journals."""
        for run in self._runs:
            run.remove_journal()

    def close(self) -> None:
        """Nothing is open here that the runs do not close."""
