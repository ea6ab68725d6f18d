"""The files of a plan one after the other, each complete with its manifest before the next: a task of a job array.

A scheduler kills such a task when it likes and runs the same command again, maybe on another machine. So what is there
is left, what was begun is resumed, and other tasks in the same folder see none of it.
"""

from contextlib import closing
from pathlib import Path

import msgspec

from deepgguf.errors import UsageError
from deepgguf.executors.executor import Executor, Progress
from deepgguf.planning.schema import Plan
from deepgguf.run.disk import Disk
from deepgguf.run.execute import destination_of, execute
from deepgguf.run.file_job import Output
from deepgguf.run.found import found_report
from deepgguf.run.result import Report
from deepgguf.run.settings import Settings


def execute_one_by_one(
    plan: Plan, settings: Settings, executor: Executor, *, disk: Disk | None = None,
    progress: Progress = lambda nbytes: None,
) -> Report:  # fmt: skip
    """As `execute`, file by file; what an interrupted run left is resumed unless `settings` say otherwise.

    The SHA-256 of each is in its manifest, where it goes into a folder. UsageError if there are to be no manifests:
    they tell what is complete.
    """
    if not settings.manifest:
        raise UsageError(
            "`part`", "needs the manifests, which tell which files are complete", "leave out `manifest=False`"
        )
    hashes = settings.sha256 or isinstance(settings.folder, Path)
    settings = msgspec.structs.replace(settings, left_part=settings.left_part or "resume", sha256=hashes)
    disk, reports = disk or Disk(), []
    for file in plan.files:
        alone = msgspec.structs.replace(plan, files=(file,))
        found = _found(alone, settings, disk)
        if found:
            progress(found.resumed)
        reports.append(found or execute(alone, settings, executor, disk=disk, progress=progress))
    return Report(
        files=tuple(file for report in reports for file in report.files),
        seconds=sum(report.seconds for report in reports),
        written=sum(report.written for report in reports),
        resumed=sum(report.resumed for report in reports),
        traffic=plan.source.traffic,
    )


def _found(plan: Plan, settings: Settings, disk: Disk) -> Report | None:
    """The report of the plan's file by its manifest; None if it is still to be made."""
    output = Output(plan, settings)
    with closing(destination_of((output,), disk)) as destination:
        return found_report(output, destination)
