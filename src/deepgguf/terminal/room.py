"""What this machine has left for a conversion."""

import shutil
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")


def free_disk(folder: Path) -> int:
    """Bytes free where `folder` is, or will be."""
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
