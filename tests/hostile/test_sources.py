"""Rows 48 to 51: things that are not a shard in the place of one, and shards that change or fail during a run."""

import os
from pathlib import Path

import pytest
from accidents import with_accident
from checkpoints import SHARDS, checkpoint, planned, refused, sample
from command import failed

from deepgguf.checkpoint.shards import INDEX
from hub_cache import as_snapshot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sample(tmp_path / "v3")


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
def test_row_48_a_fifo_in_place_of_a_file_is_refused(folder, file):
    (folder / file).unlink()
    os.mkfifo(folder / file)
    assert refused(folder) == f"{file}: a FIFO, not a regular file; download the file again"


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
def test_row_48_a_folder_in_place_of_a_file_is_refused(folder, file):
    (folder / file).unlink()
    (folder / file).mkdir()
    assert refused(folder) == f"{file}: a folder, not a regular file; download the file again"


def test_row_48_a_symlink_to_a_device_is_refused(folder):
    (folder / SHARDS[1]).unlink()
    (folder / SHARDS[1]).symlink_to("/dev/zero")
    assert refused(folder) == f"{SHARDS[1]}: a device, not a regular file; download the file again"


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
def test_row_49_a_symlink_loop_is_refused(folder, file):
    (folder / file).unlink()
    (folder / file).symlink_to("other")
    (folder / "other").symlink_to(file)
    assert refused(folder) == f"{file}: a loop of symlinks; download it again"


def test_row_49_a_dangling_symlink_is_refused(folder):
    (folder / SHARDS[1]).unlink()
    (folder / SHARDS[1]).symlink_to("gone")
    assert refused(folder) == f"{SHARDS[1]}: no such file; download it again"


@pytest.mark.parametrize("file", ["config.json", INDEX])
@pytest.mark.parametrize("absolute", [True, False])
def test_row_49_a_symlink_out_of_the_folder_is_refused(folder, file, absolute):
    outside = (folder / file).rename(folder.parent / "outside").resolve()
    (folder / file).symlink_to(outside if absolute else "../outside")
    assert refused(folder) == (
        f"{file}: a symlink to {outside}, outside the checkpoint's folder; put the file itself into the folder"
    )


def test_row_49_a_symlink_within_the_folder_is_allowed(folder):
    (folder / SHARDS[1]).rename(folder / "blob")
    (folder / SHARDS[1]).symlink_to("blob")
    assert planned(folder)["architecture"] == "deepseek2"


def test_row_49_the_symlinks_of_the_hub_cache_are_allowed(folder):
    assert planned(as_snapshot(folder))["architecture"] == "deepseek2"


def test_row_49_a_blob_that_is_a_symlink_out_of_the_cache_is_refused(folder):
    cached = as_snapshot(folder)
    blob = (cached / "config.json").resolve()
    outside = blob.rename(folder.parent / "outside")
    blob.symlink_to(outside)
    assert f"config.json: a symlink to {outside.resolve()}, outside the checkpoint's folder" in refused(cached)


def test_row_49_a_symlink_to_a_blob_of_another_model_is_refused(folder):
    cached = as_snapshot(folder)
    other = folder.parent / "models--other--model" / "blobs"
    other.mkdir(parents=True)
    (cached / "config.json").resolve().rename(other / "0")
    (cached / "config.json").unlink()
    (cached / "config.json").symlink_to(other / "0")
    assert "outside the checkpoint's folder" in refused(cached)


def at_work(folder: Path, accident: str, *, status: int) -> str:
    """The line that ends a run whose source goes wrong under it; the output's name is not given."""
    out = folder.parent / "out"
    out.mkdir()
    program = with_accident(accident)
    line = failed("convert", folder, "-o", out, "--jobs", "2", status=status, program=program)
    assert [path.name for path in out.iterdir() if not path.name.endswith((".part", ".part.journal"))] == []
    return line


@pytest.mark.parametrize("accident", ["source_truncated", "source_touched", "source_replaced"])
def test_row_50_a_source_changed_or_truncated_during_the_run_ends_it(tmp_path, accident):
    folder = checkpoint("v3", tmp_path / "v3")
    (folder / "model.safetensors").rename(folder / "old")
    (folder / "model.safetensors").write_bytes((folder / "old").read_bytes())
    size = (folder / "old").stat().st_size
    assert at_work(folder, accident, status=1) == (
        f"model.safetensors: changed or truncated while it was read, expected {size:,} bytes;"
        " put back what was there and run again with --resume, or start over with --restart"
    )


def test_row_51_a_read_error_ends_the_run(tmp_path):
    line = at_work(checkpoint("v3", tmp_path / "v3"), "read_error", status=4)
    assert line.startswith("model.safetensors: reading ")
    assert line.endswith("failed: Input/output error; check the disk, then run again with --resume")
