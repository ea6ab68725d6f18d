"""Rows 48 to 51: what may lie where a shard belongs, and what may happen to it."""

import errno
import os
from pathlib import Path

import pytest
from damage import SHARDS, refused, sample

from deepgguf.checkpoint.shards import INDEX, open_shards
from deepgguf.checkpoint.source import SourceFile, Sources
from deepgguf.errors import CheckpointError, OutputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sample(tmp_path / "v3")


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
def test_row_48_fifo(folder, file):
    (folder / file).unlink()
    os.mkfifo(folder / file)
    assert refused(folder) == f"{file}: a FIFO, not a regular file; download the file again"


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
def test_row_48_directory(folder, file):
    (folder / file).unlink()
    (folder / file).mkdir()
    assert refused(folder) == f"{file}: a folder, not a regular file; download the file again"


def test_row_48_device(folder):
    (folder / SHARDS[1]).unlink()
    (folder / SHARDS[1]).symlink_to("/dev/zero")
    assert refused(folder) == (
        f"{SHARDS[1]}: a symlink to /dev/zero, outside the checkpoint's folder; put the file itself into the folder"
    )


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_row_48_device_that_took_the_place_of_a_shard(device):
    with Sources([SourceFile(device, "shard", 0, 0)]) as sources, pytest.raises(CheckpointError, match="a device"):
        sources.read(0, 0, 8)


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
def test_row_49_symlink_loop(folder, file):
    (folder / file).unlink()
    (folder / file).symlink_to("other")
    (folder / "other").symlink_to(file)
    assert refused(folder) == f"{file}: a loop of symlinks; download it again"


def test_row_49_dangling_symlink(folder):
    (folder / SHARDS[1]).unlink()
    (folder / SHARDS[1]).symlink_to("gone")
    assert refused(folder) == f"{SHARDS[1]}: no such file; download it again"


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
@pytest.mark.parametrize("absolute", [True, False])
def test_row_49_symlink_out_of_the_folder(folder, file, absolute):
    outside = (folder / file).rename(folder.parent / "outside").resolve()
    (folder / file).symlink_to(outside if absolute else "../outside")
    assert refused(folder) == (
        f"{file}: a symlink to {outside}, outside the checkpoint's folder; put the file itself into the folder"
    )


def test_row_49_symlink_within_the_folder_is_allowed(folder):
    (folder / SHARDS[1]).rename(folder / "blob")
    (folder / SHARDS[1]).symlink_to("blob")
    assert len(open_shards(folder).tensors) == 173


def snapshot(folder: Path) -> Path:
    """`folder` as Hugging Face's cache has it: files among the blobs, symlinks in the snapshot."""
    model = folder.parent / "models--deepseek-ai--DeepSeek-V3"
    snapshot = model / "snapshots" / "e815299b"
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(model / "blobs" / f"{number:064x}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / f"{number:064x}")
    return snapshot


def test_row_49_symlinks_of_the_hub_s_cache_are_allowed(folder):
    assert len(open_shards(snapshot(folder)).tensors) == 173


def test_row_49_a_blob_that_is_a_symlink_out_of_the_cache(folder):
    cached = snapshot(folder)
    blob = (cached / SHARDS[1]).resolve()
    outside = blob.rename(folder.parent / "outside")
    blob.symlink_to(outside)
    assert f"{SHARDS[1]}: a symlink to {outside.resolve()}, outside the checkpoint's folder" in refused(cached)


def test_row_49_blobs_of_another_model(folder):
    cached = snapshot(folder)
    other = folder.parent / "models--other--model" / "blobs"
    other.mkdir(parents=True)
    (cached / SHARDS[1]).resolve().rename(other / "0")
    (cached / SHARDS[1]).unlink()
    (cached / SHARDS[1]).symlink_to(other / "0")
    assert "outside the checkpoint's folder" in refused(cached)


def test_row_50_truncated_while_it_is_read(folder):
    shards = open_shards(folder)
    last = max((t for t in shards.tensors.values() if t.file == 1), key=lambda t: t.offset)
    with Sources(shards.files) as sources:
        sources.read(1, 0, 8)
        os.truncate(folder / SHARDS[1], last.offset)
        with pytest.raises(CheckpointError, match=f"^{SHARDS[1]}: changed or truncated while it was read"):
            sources.read(1, last.offset, last.nbytes)


def test_row_50_changed_between_plan_and_reading(folder):
    shards = open_shards(folder)
    os.utime(folder / SHARDS[1], ns=(0, shards.files[1].mtime_ns + 1))
    with Sources(shards.files) as sources, pytest.raises(CheckpointError, match="changed or truncated"):
        sources.read(1, 0, 8)


def test_row_50_replaced_after_it_was_read(folder):
    shards = open_shards(folder)
    with Sources(shards.files) as sources:
        sources.read(1, 0, 8)
        os.utime(folder / SHARDS[1], ns=(0, shards.files[1].mtime_ns + 1))
        with pytest.raises(CheckpointError, match=f"^{SHARDS[1]}: changed or truncated while it was read"):
            sources.check_unchanged()


def test_row_51_read_error(folder, monkeypatch):
    shards = open_shards(folder)

    def broken(fd: int, buffers: list[memoryview], offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Sources(shards.files) as sources:
        monkeypatch.setattr(os, "preadv", broken)
        with pytest.raises(OutputError) as error:
            sources.read(1, 4096, 512)
    assert str(error.value) == (
        f"{SHARDS[1]}: reading 512 bytes at byte 4,096 failed: Input/output error;"
        " check the disk, then run again with --resume"
    )
