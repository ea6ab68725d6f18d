"""A folder of this machine as the destination of a plan's files: parts, journals and names on the disk."""

from deepgguf.executors.executor import Executor, Progress
from deepgguf.executors.threads import Threads
from deepgguf.planning.schema import Plan
from deepgguf.run.destination import Destination
from deepgguf.run.disk import Disk
from deepgguf.run.file_job import jobs_of
from deepgguf.run.file_run import FileRun, Opener
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

    def settle(self) -> None:
        """Syncs the folder."""
        self._disk.sync_folder(self._jobs[0].paths.final.parent)

    def finish(self) -> None:
        """Removes the journals."""
        for run in self._runs:
            run.remove_journal()

    def close(self) -> None:
        """Nothing is open here that the runs do not close."""
