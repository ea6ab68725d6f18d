"""Hugging Face's cache: which folder of it a path means, and what the model in it is called.

A model lies in `models--ORGANIZATION--NAME/snapshots/COMMIT`, as symlinks into `models--ORGANIZATION--NAME/blobs`:
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
import re
from pathlib import Path

from deepgguf.errors import CheckpointError, UsageError
from deepgguf.files.regular_file import open_regular

_PREFIX = "models--"
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # such bytes as Python has them
_REF_CAP = 256  # bytes; a revision's hash has 40


def cached_as(model: str) -> str:
    """What the folder of ORGANIZATION/NAME is called in the cache."""
    return _PREFIX + model.replace("/", "--")


def snapshot_folder(path: Path) -> Path:
    """The folder that holds the files: of a model's folder in the cache the snapshot that refs/main names, or the only
    one; any other folder is itself.

    Raises UsageError if there are several snapshots and no refs/main, or if it names one that is not there.
    """
    if not _plain(path).name.startswith(_PREFIX) or not (path / "snapshots").is_dir():
        return path
    main = path / "refs" / "main"
    snapshots = sorted(p for p in (path / "snapshots").iterdir() if p.is_dir())
    if os.path.lexists(main):
        revision = read_ref(main)
        found_there = [p for p in snapshots if p.name == revision]
        if not found_there:
            raise UsageError(path, f"refs/main names the snapshot {revision}, which is not there", "download it again")
        return found_there[0]
    if not snapshots:
        raise UsageError(path, "a download that has hardly begun: it has no snapshot", "run `hf download` again")
    if len(snapshots) != 1:
        raise UsageError(path, f"{len(snapshots)} snapshots and no refs/main", "give one of the folders in snapshots/")
    return snapshots[0]


def read_ref(ref: Path) -> str:
    """The commit that a file of the folder refs names. CheckpointError if it is none."""
    name = f"refs/{ref.name}"
    opened = open_regular(str(ref), name)
    try:
        return os.pread(opened.fd, _REF_CAP, 0).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise CheckpointError(name, "is not a revision's hash", "download the checkpoint again") from None


def folder_name(folder: Path) -> str:
    """What the checkpoint is called: the folder's name, in the cache the NAME of `models--ORGANIZATION--NAME`.

    It is text, which goes into the output: bytes that are not UTF-8 become underscores.
    """
    folder = _plain(folder)
    model = folder.parent.parent if folder.parent.name == "snapshots" else folder
    name = model.name.split("--", 2)[-1] if model.name.startswith(_PREFIX) else folder.name
    return _NOT_UTF8.sub("_", name) or "checkpoint"


def hub_repository(folder: Path) -> tuple[str | None, str | None]:
    """(ORGANIZATION/NAME, commit) of a snapshot's folder; (None, None) for folders outside the cache."""
    *_, model, snapshots, commit = ("", "", "", *_plain(folder).parts)
    if snapshots != "snapshots" or not model.startswith(_PREFIX):
        return None, None
    return model.removeprefix(_PREFIX).replace("--", "/", 1), commit


def blobs_folder(folder: str) -> str | None:
    """Where the symlinks of a snapshot's folder (a real path) may lead, a real path too; None for folders outside the
    cache.

    The blobs may lie on another disk. As a stranger could make such a symlink to any folder, a shard must lie there.
    """
    parts = Path(folder).parts
    if "snapshots" not in parts:
        return None
    model = Path(*parts[: len(parts) - 1 - parts[::-1].index("snapshots")])
    blobs = Path(os.path.realpath(model / "blobs"))
    shards = (Path(os.path.realpath(shard)) for shard in Path(folder).glob("*.safetensors"))
    return str(blobs) if blobs.is_relative_to(model) or any(shard.parent == blobs for shard in shards) else None


def _plain(path: Path) -> Path:
    """`path` absolute and without "..", but with its symlinks: one that points to a folder gives it another name."""
    return Path(os.path.normpath(path.absolute()))
