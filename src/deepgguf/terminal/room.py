"""What a conversion takes of this machine, and what is left there."""

import shutil
from pathlib import Path

from deepgguf.planning.needs import memory_needed
from deepgguf.planning.schema import Plan
from deepgguf.run.address import Place

_MEMINFO = Path("/proc/meminfo")


def memory(plan: Plan, folder: Place, jobs: int) -> int:
    """Bytes that writing `plan` into `folder` takes with `jobs` threads."""
    needed = memory_needed(plan, jobs)
    if isinstance(folder, Path):
        return needed
    from deepgguf.run.s3.parts import memory_of_uploads

    return needed + memory_of_uploads(plan, jobs)


def free_disk(folder: Place) -> int | None:
    """Bytes free where `folder` is, or will be; None where nobody can tell."""
    if not isinstance(folder, Path):
        return None
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def free_memory(meminfo: Path = _MEMINFO) -> int | None:
    """Bytes that new work can have without swapping; None where the system does not tell.

    MemAvailable (proc(5)), not the free pages: after a download nearly all memory holds the files, and can be had.
    """
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return int(kilobytes) * 1024 if kilobytes else None
