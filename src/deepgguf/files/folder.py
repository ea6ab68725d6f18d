"""Which folder a path means, and what the checkpoint in it is called."""

import os
import stat
from pathlib import Path

from deepgguf.errors import CheckpointError, UsageError
from deepgguf.files.local import LocalSource

_PREFIX = "models--"  # of a model's folder in Hugging Face's cache: models--ORG--NAME
_WANTED = "give the folder that holds config.json and the safetensors files"
_REF_CAP = 256  # bytes; a revision's hash has 40


def resolve_checkpoint(path: Path) -> Path:
    """The folder that holds config.json and the shards: `path` itself, or a snapshot of Hugging Face's cache.

    For a folder `models--ORG--NAME` of the cache (https://huggingface.co/docs/huggingface_hub/guides/manage-cache) that
    is the snapshot that refs/main names, or the only one.

    Raises UsageError if there is no such folder, or several snapshots and no refs/main.
    """
    try:
        mode = path.stat().st_mode
    except OSError as e:
        raise UsageError(path, f"no such folder: {e.strerror}", _WANTED) from None
    if not stat.S_ISDIR(mode):
        raise UsageError(path, "a file, not the folder of a checkpoint", _WANTED)
    if not _normal(path).name.startswith(_PREFIX) or not (path / "snapshots").is_dir():
        return path
    main = path / "refs" / "main"
    snapshots = sorted(p for p in (path / "snapshots").iterdir() if p.is_dir())
    if main.is_file():
        revision = _revision(main)
        found_there = [p for p in snapshots if p.name == revision]
        if not found_there:
            raise UsageError(path, f"refs/main names the snapshot {revision}, which is not there", "download it again")
        return found_there[0]
    if len(snapshots) != 1:
        raise UsageError(path, f"{len(snapshots)} snapshots and no refs/main", "give one of the folders in snapshots/")
    return snapshots[0]


def _revision(main: Path) -> str:
    with LocalSource(main) as source:
        try:
            return source.read(0, min(source.file.size, _REF_CAP)).decode("ascii").strip()
        except UnicodeDecodeError:
            raise CheckpointError("refs/main", "is no revision's hash", "download the checkpoint again") from None


def _normal(path: Path) -> Path:
    """`path` absolute and without "..", but with its symlinks: one that points to a folder gives it another name."""
    return Path(os.path.normpath(path.absolute()))


def checkpoint_name(path: Path) -> str:
    """What the checkpoint is called: the folder's name, in Hugging Face's cache the NAME of `models--ORG--NAME`."""
    folder = _normal(path)
    model = folder.parent.parent if folder.parent.name == "snapshots" else folder
    if model.name.startswith(_PREFIX):
        return model.name.split("--", 2)[-1]
    return folder.name or "checkpoint"
