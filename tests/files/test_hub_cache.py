from pathlib import Path

import pytest

from deepgguf.errors import CheckpointError, UsageError
from deepgguf.files.hub_cache import folder_name, hub_repository, snapshot_folder
from deepgguf.files.local import LocalFiles


def cached_model(root: Path, *snapshots: str, main: str | None = None) -> Path:
    model = root / "models--deepseek-ai--DeepSeek-V3"
    for revision in snapshots:
        (model / "snapshots" / revision).mkdir(parents=True)
    if main:
        (model / "refs").mkdir()
        (model / "refs" / "main").write_text(main)
    return model


def test_a_plain_folder_is_itself(tmp_path):
    assert snapshot_folder(tmp_path) == tmp_path


def test_a_snapshot_is_itself(tmp_path):
    snapshot = cached_model(tmp_path, "0123") / "snapshots" / "0123"
    assert snapshot_folder(snapshot) == snapshot


def test_a_model_s_folder_in_the_cache_means_the_snapshot_of_main(tmp_path):
    model = cached_model(tmp_path, "0123", "4567", main="4567\n")
    assert snapshot_folder(model) == model / "snapshots" / "4567"


def test_without_main_it_means_the_only_snapshot(tmp_path):
    model = cached_model(tmp_path, "0123")
    assert snapshot_folder(model) == model / "snapshots" / "0123"


def test_without_main_two_snapshots_are_ambiguous(tmp_path):
    with pytest.raises(UsageError, match="2 snapshots and no refs/main; give one of the folders in snapshots/"):
        snapshot_folder(cached_model(tmp_path, "0123", "4567"))


@pytest.mark.parametrize("revision", ["89ab", "..", "../../elsewhere", "/etc"])
def test_main_can_only_name_a_snapshot_that_is_there(tmp_path, revision):
    with pytest.raises(UsageError, match=r"refs/main names the snapshot .*, which is not there"):
        snapshot_folder(cached_model(tmp_path, "0123", main=revision))


def test_a_model_s_folder_without_snapshots_is_a_plain_one(tmp_path):
    model = tmp_path / "models--a--b"
    model.mkdir()
    assert snapshot_folder(model) == model


def test_what_is_not_a_folder_is_refused(tmp_path):
    (tmp_path / "a.safetensors").touch()
    with pytest.raises(UsageError, match="a file, not the folder of a checkpoint"):
        LocalFiles(tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="no such folder"):
        LocalFiles(tmp_path / "b")
    with pytest.raises(UsageError, match="cannot be read: File name too long"):
        LocalFiles(tmp_path / ("b" * 5000))


def test_main_is_never_read_through_a_symlink(tmp_path):
    model = cached_model(tmp_path, "0123", main="0123")
    (tmp_path / "secret").write_text("a password")
    (model / "refs" / "main").unlink()
    (model / "refs" / "main").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match=r"^refs/main: "):
        snapshot_folder(model)


def test_the_files_of_a_model_in_the_cache_are_its_snapshot_s(tmp_path):
    model = cached_model(tmp_path, "0123", "4567", main="4567")
    files = LocalFiles(model)
    assert (files.place, files.checkpoint_name) == (str(model / "snapshots" / "4567"), "DeepSeek-V3")
    assert files.repository == ("deepseek-ai/DeepSeek-V3", "4567")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/DeepSeek-V3", "DeepSeek-V3"),
        ("/data/DeepSeek-V3/", "DeepSeek-V3"),
        ("/data/x/../DeepSeek-V3/.", "DeepSeek-V3"),
        ("/hub/models--deepseek-ai--DeepSeek-V3", "DeepSeek-V3"),
        ("/hub/models--deepseek-ai--DeepSeek-V3/snapshots/e815299b", "DeepSeek-V3"),
        ("/hub/models--org--a--b/snapshots/e815299b", "a--b"),
        ("/hub/models--gpt2/snapshots/e815299b", "gpt2"),
        ("/data/snapshots/mine", "mine"),
        ("/", "checkpoint"),
    ],
)
def test_the_name_is_the_folder_s_or_the_model_s(path, name):
    assert folder_name(Path(path)) == name


def test_the_name_of_a_relative_path_is_that_of_its_folder(tmp_path, monkeypatch):
    (tmp_path / "DeepSeek-V3").mkdir()
    monkeypatch.chdir(tmp_path / "DeepSeek-V3")
    assert folder_name(Path()) == "DeepSeek-V3"


def test_a_symlink_to_a_folder_gives_it_its_name(tmp_path):
    (tmp_path / "e815299b").mkdir()
    (tmp_path / "v3").symlink_to(tmp_path / "e815299b")
    assert folder_name(tmp_path / "v3") == "v3"


@pytest.mark.parametrize(
    "folder, expected",
    [
        ("/cache/models--deepseek-ai--DeepSeek-V3/snapshots/abc", ("deepseek-ai/DeepSeek-V3", "abc")),
        ("/cache/models--deepseek-ai--DeepSeek-V3/snapshots/abc/../def", ("deepseek-ai/DeepSeek-V3", "def")),
        ("/cache/models--gpt2/snapshots/abc", ("gpt2", "abc")),
        ("/cache/datasets--a--b/snapshots/abc", (None, None)),
        ("/models/snapshots/abc", (None, None)),
        ("/models--a--b", (None, None)),
        ("/", (None, None)),
    ],
)
def test_the_repository_is_read_from_the_caches_folders_only(folder, expected):
    assert hub_repository(Path(folder)) == expected
