"""Row 94: files that a conversion can do without, which are there but cannot be read, are never passed over."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import checkpoint, converted, edit_json, planned, refused
from command import failed


def dangling(path: Path) -> None:
    path.symlink_to("pruned")


def folder_instead(path: Path) -> None:
    path.mkdir()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


UNREADABLE = {
    dangling: "no such file",
    folder_instead: "a folder, not a regular file",
    fifo: "a FIFO, not a regular file",
    loop: "a loop of symlinks",
}
each = pytest.mark.parametrize(("make", "found"), UNREADABLE.items(), ids=[f"row_94_{m.__name__}" for m in UNREADABLE])


OPTIONAL = ("generation_config.json", "special_tokens_map.json", "added_tokens.json", "README.md")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = checkpoint("v3", tmp_path / "v3")
    edit_json(folder / "tokenizer_config.json", lambda config: config.pop("chat_template"))
    return folder


@each
@pytest.mark.parametrize(
    "file",
    ["tokenizer_config.json", "chat_template.jinja", "chat_template.json"],
)
def test_row_94_what_decides_keys_is_refused(source, file, make: Callable[[Path], None], found):
    (source / file).unlink(missing_ok=True)
    make(source / file)
    assert refused(source).startswith(f"{file}: {found}; download ")


@each
@pytest.mark.parametrize("file", ["processor_config.json", "preprocessor_config.json"])
def test_row_94_a_processor_s_config_is_read_for_a_model_with_vision_only(tmp_path, source, file, make, found):
    before = planned(source)["warnings"]
    make(source / file)
    assert planned(source)["warnings"] == before
    seeing = checkpoint("ocr", tmp_path / "ocr")
    (seeing / "processor_config.json").unlink()
    make(seeing / file)
    assert refused(seeing, "--target", "llama.cpp").startswith(f"{file}: {found}; download ")


@each
@pytest.mark.parametrize("file", OPTIONAL)
def test_row_94_what_engines_can_do_without_is_a_warning(source, file, make: Callable[[Path], None], found):
    (source / file).unlink(missing_ok=True)
    make(source / file)
    unread, lacking = planned(source)["warnings"]
    assert unread.split(";")[0] == f"{file}: {found}"
    assert lacking.startswith("the file has no chat template")


@each
def test_row_94_a_manifest_is_refused(source, make: Callable[[Path], None], found):
    converted(source)
    file = next((source.parent / "out").glob("*.gguf"))
    manifest = file.with_name(f"{file.name}.json")
    manifest.unlink()
    make(manifest)
    assert failed("verify", file, status=3) == (
        f"{manifest}: {found}; convert again, or remove it to check the structure only"
    )


@each
def test_row_94_the_name_of_the_hub_s_current_snapshot_is_refused(source, make: Callable[[Path], None], found):
    model = source.parent / "models--a--b"
    shutil.copytree(source, model / "snapshots" / "0123")
    (model / "refs").mkdir()
    make(model / "refs" / "main")
    assert refused(model).startswith("refs/main: ")


def test_row_94_a_file_whose_blob_was_pruned_from_the_hub_s_cache_is_refused(source):
    model = source.parent / "models--a--b"
    shutil.copytree(source, model / "snapshots" / "0123")
    (model / "blobs").mkdir()
    file = model / "snapshots" / "0123" / "tokenizer_config.json"
    file.unlink()
    file.symlink_to("../../blobs/4567")
    assert refused(model) == "tokenizer_config.json: no such file; download it again"
