"""Hugging Face's cache: files among the blobs, symlinks in the snapshot."""

from pathlib import Path


def as_snapshot(folder: Path) -> Path:
    """The files of `folder` moved into a cache beside it; the folder of the snapshot."""
    model = folder.parent / "models--deepseek-ai--DeepSeek-V3"
    snapshot = model / "snapshots" / "e815299b"
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(model / "blobs" / f"{number:064x}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / f"{number:064x}")
    return snapshot
