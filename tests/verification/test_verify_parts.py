"""`verify --parts`: whether all files of a split set have been made, and by what command those that are not."""

import json
from pathlib import Path

import pytest

import deepgguf
from deepgguf.cli import main
from tiny_checkpoint import V3, weights, write_checkpoint

FILES = 5
NAME = "model-{:05d}-of-00005.gguf"


@pytest.fixture
def made(tmp_path) -> Path:
    """The folder of a set that two tasks have made."""
    source = write_checkpoint(tmp_path / "source", V3, weights(V3))
    folder = tmp_path / "made"
    folder.mkdir()
    for part in ("1/2", "2/2"):
        deepgguf.convert(source, folder / "model.gguf", target="llama.cpp", split_max_tensors=7, part=part)
    assert len(list(folder.glob("*.gguf"))) == FILES
    return folder


def said(capsys, *arguments: object) -> tuple[int, str]:
    """Exit status and complaint of `verify --parts`."""
    status = main(["verify", "--parts", *map(str, arguments)])
    return status, capsys.readouterr().err


def change(manifest: Path, **members: object) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | members))


def test_a_whole_set_is_verified(made, capsys):
    assert said(capsys, made / NAME.format(3)) == (0, "")


def test_missing_files_are_listed_as_slurm_takes_them_with_the_command_to_make_them(made, capsys):
    for number in (1, 3, 4):
        (made / NAME.format(number)).unlink()
    (made / f"{NAME.format(4)}.part").touch()
    found = f"{made / NAME.format(1)}: files 1,3-4 of 5 are missing; 4 begun"
    advice = "make each by the command that made the others, with --part K/5"
    assert said(capsys, made / NAME.format(1)) == (3, f"deepgguf: {found}; {advice}\n")


def test_a_file_without_its_manifest_does_not_count_as_made(made, capsys):
    (made / f"{NAME.format(2)}.json").unlink()
    found = "files 2 of 5 have no manifest, which tells that a file is complete"
    status, complaint = said(capsys, made / NAME.format(2))
    assert (status, complaint.partition(": ")[2].partition(": ")[2]) == (
        3,
        f"{found}; make each again with --overwrite and --part K/5\n",
    )


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"version": "0.0.1"}, "deepgguf was 0.0.1 when this was made"),
        (
            {"sources": [{"name": "model.safetensors", "size": 1, "version": "etag-2"}]},
            "model.safetensors was etag-2 when this was made, and etag-1 for",
        ),
    ],
)
def test_files_of_two_versions_are_not_one_set(made, capsys, members, found):
    for number in range(1, FILES + 1):
        sources = [{"name": "model.safetensors", "size": 1, "version": "etag-1"}]
        change(made / f"{NAME.format(number)}.json", sources=sources)
    change(made / f"{NAME.format(5)}.json", **members)
    status, complaint = said(capsys, made / NAME.format(2))
    assert status == 3
    assert f"{NAME.format(5)}: {found}" in complaint


def test_a_bit_that_has_changed_in_one_file_is_found(made, capsys):
    file = made / NAME.format(2)
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)
    assert said(capsys, made / NAME.format(1))[0] == 3


@pytest.mark.parametrize("name", ["model.gguf", "model-00006-of-00005.gguf", "model-00001-of-00005"])
def test_a_name_that_no_file_of_a_set_has_is_refused(made, capsys, name):
    status, complaint = said(capsys, made / name)
    assert status == 2
    assert "is not called NAME-00001-of-00009.gguf" in complaint
