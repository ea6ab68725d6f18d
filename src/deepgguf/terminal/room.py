"""What a conversion takes of this machine, and what is left there."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deepgguf.planning.needs import memory_needed
from deepgguf.planning.schema import Plan
from deepgguf.run.address import Place
from deepgguf.run.file_job import Placed, without_twins
from deepgguf.run.outputs import nearest_folder

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
    return shutil.disk_usage(nearest_folder(folder)).free


class Room(NamedTuple):
    """What goes to one file system, by a folder of it: bytes needed and free, None where nobody can tell."""

    folder: str
    needed: int
    free: int | None


def rooms(placed: Sequence[Placed]) -> tuple[Room, ...]:
    """The file systems that the plans' files go to."""
    needed: dict[object, int] = {}
    folders: dict[object, Place] = {}
    for (_, folder), own in zip(placed, without_twins(placed), strict=True):
        there = nearest_folder(folder) if isinstance(folder, Path) else folder
        system = there.stat().st_dev if isinstance(there, Path) else there
        folders.setdefault(system, there)
        needed[system] = needed.get(system, 0) + own.size
    return tuple(Room(str(folders[each]), needed[each], free_disk(folders[each])) for each in needed)


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
