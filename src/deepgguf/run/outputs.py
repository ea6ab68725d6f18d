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
from deepgguf.run.address import Place
from deepgguf.run.file_job import FileJob, Output
from deepgguf.run.manifest import may_be_begun
from deepgguf.run.paths import Paths
from deepgguf.run.settings import Settings


def check_outputs(outputs: Sequence[Output], jobs: Sequence[FileJob]) -> None:
    """UsageError if a name is taken, OutputError if there is not room enough; `jobs` are the files of all outputs."""
    settings = outputs[0].settings
    named = resumes_named(settings, jobs)
    for output in outputs:
        _enter(output.settings)
    _refuse_same(jobs)
    _refuse_inputs(outputs, jobs)
    for job in jobs:
        if job.paths.part.exists() or not named:
            refuse_existing(job.paths, overwrite=settings.overwrite)
        refuse_manifest(job, overwrite=settings.overwrite or named)
    _check_room(jobs, named=named)


def folders_of(jobs: Sequence[FileJob]) -> tuple[Path, ...]:
    """The folders of the files, each once."""
    return tuple(dict.fromkeys(job.paths.final.parent for job in jobs))


def resumes_named(settings: Settings, jobs: Sequence[FileJob]) -> bool:
    """Whether to resume a run that gave files their final names: a journal is left, and a file that has no part.

    The journals of all files are left until the last of them has its name.
    """
    return (
        settings.left_part == "resume"
        and any(job.paths.journal.exists() for job in jobs)
        and any(_is_named(job.paths) for job in jobs)
    )


def _is_named(paths: Paths) -> bool:
    return not os.path.lexists(paths.part) and (paths.journal.exists() or os.path.lexists(paths.final))


def nearest_folder(folder: Path) -> Path:
    """The folder itself, or the first one above it that is there."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _check_room(jobs: Sequence[FileJob], *, named: bool) -> None:
    """OutputError for a file system without room for all that goes there; `named` as `resumes_named` has it."""
    file_systems: dict[int, list[FileJob]] = {}
    for job in jobs:
        folder = nearest_folder(job.paths.final.parent)
        file_systems.setdefault(folder.stat().st_dev, []).append(job)
    for there in file_systems.values():
        folder = nearest_folder(there[0].paths.final.parent)
        taken = sum(_taken(job.paths, named=named) for job in there)
        needed, free = sum(job.file.size for job in there), shutil.disk_usage(folder).free
        if needed > free + taken:
            found = f"{needed:,} bytes are needed, {free:,} are free"
            advice = "free space, give another folder as `output`, or choose a smaller `type`"
            raise OutputError(folder, found, advice)


def _taken(paths: Paths, *, named: bool) -> int:
    """Bytes that the disk has already given to the file."""
    path = paths.final if named and not paths.part.exists() else paths.part
    return path.stat().st_blocks * 512 if path.is_file() else 0


def _refuse_same(jobs: Sequence[FileJob]) -> None:
    """UsageError if two of the files would have the same name."""
    seen: set[Place] = set()
    for job in jobs:
        if job.final in seen:
            raise UsageError(job.final, "is the name of two files", "give them folders of their own: `layout`")
        seen.add(job.final)


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


def _refuse_inputs(outputs: Sequence[Output], jobs: Sequence[FileJob]) -> None:
    """UsageError if a file that the run writes, replaces or removes is one that it reads, by whatever name."""
    plan = outputs[0].plan
    names = {source.name for source in plan.sources}
    if not plan.source.connections:  # nothing that a network brings is written over here
        # No other GGUF, or what is beside one, is read.
        names |= {name for name in plan.source.names() if ".gguf" not in name}
    read = [(plan.source, name) for name in names]
    matrices = [output.plan.importance for output in outputs]
    read += [(matrix.files, matrix.file.name) for matrix in matrices if matrix]
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


def _enter(settings: Settings) -> None:
    """UsageError if there is no such folder and it is not to be made, OutputError if nothing in it can be looked at."""
    assert isinstance(settings.folder, Path)
    folder = settings.folder
    if settings.below in folder.parents:
        folder = next(path for path in (folder, *folder.parents) if path == settings.below or os.path.lexists(path))
    try:
        os.stat(os.path.join(folder, "."))  # noqa: PTH116, PTH118 - pathlib drops the dot, which needs the permission
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP):
            found = f"cannot be entered: {error.strerror}"
            raise OutputError(folder, found, "look at its permissions, or give another `output`") from None
        raise UsageError(folder, "no such folder", "make it, or give another `output`") from None
