"""What may stand under the names that a run uses, looked at before the work and once more before files get them."""

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deepgguf.errors import DeepggufError, OutputError, UsageError
from deepgguf.files.files import Files
from deepgguf.formats.manifest import is_manifest, read_manifest
from deepgguf.planning.schema import Plan
from deepgguf.run.file_job import FileJob
from deepgguf.run.manifest import may_be_begun
from deepgguf.run.paths import Paths
from deepgguf.run.settings import Settings


def check_outputs(plan: Plan, jobs: Sequence[FileJob], settings: Settings) -> None:
    """UsageError if a name is taken, OutputError if there is not room enough."""
    folder, named = jobs[0].paths.final.parent, resumes_named(settings, jobs)
    _enter(folder)
    _refuse_inputs(plan, jobs)
    for job in jobs:
        if job.paths.part.exists() or not named:
            refuse_existing(job.paths, overwrite=settings.overwrite)
        refuse_manifest(job, overwrite=settings.overwrite or named)
    taken = sum(job.paths.part.stat().st_blocks * 512 for job in jobs if job.paths.part.is_file())
    free = shutil.disk_usage(folder).free
    if plan.size > free + taken:
        found = f"{plan.size:,} bytes are needed, {free:,} are free"
        raise OutputError(folder, found, "free space, give another folder as `output`, or choose a smaller `type`")


def resumes_named(settings: Settings, jobs: Sequence[FileJob]) -> bool:
    """Whether to resume a run that came as far as the final names: a journal is left, its part is not."""
    return settings.left_part == "resume" and any(
        job.paths.journal.exists() and not os.path.lexists(job.paths.part) for job in jobs
    )


def refuse_existing(paths: Paths, *, overwrite: bool) -> None:
    """UsageError if the final name is taken and may not be replaced, or is not a regular file."""
    final = paths.final
    if final.is_symlink() or (final.exists() and not final.is_file()):
        kind = "a symlink" if final.is_symlink() else "not a regular file"
        raise UsageError(final, f"is {kind}", "give another `output`")
    if final.exists() and not overwrite:
        raise UsageError(final, "exists", "replace it with `overwrite=True`, or give another `output`")


def refuse_manifest(job: FileJob, *, overwrite: bool) -> None:
    """UsageError if the manifest's name is not a manifest's, or that of another plan's, which may not be replaced."""
    for path in (job.paths.manifest, job.paths.manifest_part):
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise UsageError(path, "is not a regular file", "move it away, or give another `output`")
    path, begun = job.paths.manifest, job.paths.manifest_part
    found = read_manifest(path)
    for one, ours in ((begun, may_be_begun(begun)), (path, found is not None or is_manifest(path))):
        if one.exists() and not ours:
            raise UsageError(one, "is not a manifest of deepgguf", "move it away, or give another `output`")
    if not path.exists():
        return
    if not overwrite and (found is None or found.plan != job.header.plan):
        raise UsageError(path, "exists", "replace it with `overwrite=True`, or give another `output`")


def _refuse_inputs(plan: Plan, jobs: Sequence[FileJob]) -> None:
    """UsageError if a file that the run writes, replaces or removes is one that it reads, by whatever name."""
    names = {source.name for source in plan.sources}
    if not plan.source.connections:  # nothing that a network brings is written over here
        # No other GGUF, or what is beside one, is read.
        names |= {name for name in plan.source.names() if ".gguf" not in name}
    read = [(plan.source, name) for name in names]
    if plan.importance:
        read.append((plan.importance.files, plan.importance.file.name))
    inputs = {_inode(files, name) for files, name in read}
    for job in jobs:
        for path in (job.paths.final, job.paths.manifest, *job.paths.left):
            if path.exists() and (path.stat().st_dev, path.stat().st_ino) in inputs:
                raise UsageError(path, "is one of the inputs", "give another `output`")


def _inode(files: Files, name: str) -> tuple[int, int] | None:
    """Device and number of a local file; None for others, and for what cannot be read, which is said elsewhere."""
    with suppress(DeepggufError, OSError):
        path = files.local_path(name)
        if path is not None:
            facts = Path(path).stat()
            return facts.st_dev, facts.st_ino
    return None


def _enter(folder: Path) -> None:
    """UsageError if there is no such folder, OutputError if nothing in it can be looked at."""
    try:
        os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118 - pathlib drops the dot, which needs the permission
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
            found = f"cannot be entered: {error.strerror}"
            raise OutputError(folder, found, "look at its permissions, or give another `output`") from None
        raise UsageError(folder, "no such folder", "make it, or give another `output`") from None
