"""Rows 16 to 23: a damaged index, and an index and shards that contradict each other."""

import json
from pathlib import Path

import pytest
from checkpoints import (
    SHARDS,
    checkpoint,
    converted,
    edit_header,
    edit_index,
    first_tensor,
    header,
    planned,
    put_header_text,
    refused,
    sample,
)

from deepgguf.checkpoint.shards import INDEX


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sample(tmp_path / "v3")


def index_warnings(folder: Path) -> list[str]:
    return [warning for warning in planned(folder)["warnings"] if warning.startswith(INDEX)]


@pytest.mark.parametrize("with_index", [True, False])
@pytest.mark.parametrize("shard", SHARDS)
def test_row_16_a_missing_shard_is_refused(folder, with_index, shard):
    (folder / shard).unlink()
    if not with_index:
        (folder / INDEX).unlink()
    assert refused(folder).startswith(f"{shard}: ")


def test_row_16_a_shard_that_the_index_does_not_know(folder):
    edit_index(
        folder, lambda index: index.update(weight_map={k: v for k, v in index["weight_map"].items() if v != SHARDS[2]})
    )
    (warning,) = index_warnings(folder)
    assert f"lies in {SHARDS[2]}, but the index has it nowhere" in warning


@pytest.mark.parametrize(
    "name",
    [
        f"../v3/{SHARDS[0]}",
        "../../../../etc/passwd",
        "/etc/passwd.safetensors",
        f"..\\{SHARDS[0]}",
        f"C:{SHARDS[0]}",
        f"https://huggingface.co/{SHARDS[0]}",
        "..",
        ".",
        "",
        ".hidden.safetensors",
        "config.json",
        f"a\n{SHARDS[0]}",
        f"\u202e{SHARDS[0]}",
    ],
)
def test_row_17_a_shard_name_that_is_not_a_file_in_the_folder_is_refused(folder, name):
    edit_index(folder, lambda index: index["weight_map"].update({first_tensor(folder / SHARDS[0]): name}))
    line = refused(folder)
    assert line.startswith(f"{INDEX}: the shard name ")
    assert " is not that of a safetensors file in the folder; download it again, or remove it: " in line


def test_row_17_a_shard_in_a_folder_that_is_not_there(folder):
    edit_index(folder, lambda index: index["weight_map"].update({first_tensor(folder / SHARDS[0]): f"sub/{SHARDS[0]}"}))
    named = f"it names sub/{SHARDS[0]}, and the shards are others"
    assert index_warnings(folder) == [
        f"{INDEX}: belongs to another version of the model: {named}; the shards' own headers are used"
    ]


@pytest.mark.parametrize("weight_map", [None, [], "x", {"a": 1}, {"a": None}, {"a": [SHARDS[0]]}])
def test_row_17_a_weight_map_that_does_not_map_names_is_refused(folder, weight_map):
    edit_index(folder, lambda index: index.update(weight_map=weight_map))
    assert refused(folder).startswith(f"{INDEX}: Expected ")


def test_row_18_tensor_in_another_shard_than_the_index_names(folder):
    name = first_tensor(folder / SHARDS[0])
    edit_index(folder, lambda index: index["weight_map"].update({name: SHARDS[1]}))
    lies = f"tensor {name} lies in {SHARDS[0]}, but the index has it in {SHARDS[1]}"
    assert index_warnings(folder) == [f"{INDEX}: {lies}; the shards' own headers are used"]


def test_row_18_all_tensors_in_other_shards_than_the_index_names(folder):
    others = dict(zip(SHARDS, (*SHARDS[1:], SHARDS[0]), strict=True))
    edit_index(folder, lambda index: index.update(weight_map={k: others[v] for k, v in index["weight_map"].items()}))
    (warning,) = index_warnings(folder)
    assert warning.endswith(" (and 172 more); the shards' own headers are used")


def test_row_18_a_tensor_in_no_shard(folder):
    edit_index(folder, lambda index: index["weight_map"].update(stray=SHARDS[1]))
    assert index_warnings(folder) == [
        f"{INDEX}: belongs to another version of the model: it names tensor stray, which no shard has; "
        "the shards' own headers are used"
    ]


@pytest.mark.parametrize("with_index", [True, False])
def test_row_19_one_tensor_in_two_shards_is_refused(folder, with_index):
    name = first_tensor(folder / SHARDS[0])
    twin = header(folder / SHARDS[0])[name]
    size = (folder / SHARDS[1]).stat().st_size
    end = max(e["data_offsets"][1] for n, e in header(folder / SHARDS[1]).items() if n != "__metadata__")
    twin["data_offsets"] = [end + offset for offset in twin["data_offsets"]]
    edit_header(folder / SHARDS[1], lambda content: content.update({name: twin}), data_bytes=twin["data_offsets"][1])
    assert (folder / SHARDS[1]).stat().st_size > size
    if not with_index:
        (folder / INDEX).unlink()
    assert refused(folder).startswith(f"{SHARDS[1]}, tensor {name}: is also in {SHARDS[0]}; ")


def test_row_20_tensor_that_the_index_leaves_out(folder):
    name = first_tensor(folder / SHARDS[2])
    edit_index(folder, lambda index: index["weight_map"].pop(name))
    lies = f"tensor {name} lies in {SHARDS[2]}, but the index has it nowhere"
    assert index_warnings(folder) == [f"{INDEX}: {lies}; the shards' own headers are used"]


@pytest.mark.parametrize("false", [0, 1, -5_441_096, 5_441_097, 5_441_096.5, 10**39, "5441096", [5441096], {}, True])
def test_row_21_false_total_size(folder, false):
    edit_index(folder, lambda index: index["metadata"].update(total_size=false))
    found = f"total_size is {false!r}, but the tensors have 5,441,096 bytes"
    assert index_warnings(folder) == [f"{INDEX}: {found}; the shards' own headers are used"]


@pytest.mark.parametrize("metadata", [None, {}, {"total_size": None}, {"total_parameters": 1}])
def test_row_21_no_total_size(folder, metadata):
    edit_index(folder, lambda index: index.update(metadata=metadata))
    assert index_warnings(folder) == []


@pytest.mark.parametrize("metadata", [5441096, "\x1b[2J", [], [{"total_size": 1}], True, False])
def test_row_21_metadata_of_another_type(folder, metadata):
    edit_index(folder, lambda index: index.update(metadata=metadata))
    assert index_warnings(folder) == [f"{INDEX}: metadata is {metadata!r}, expected an object; it is ignored"]


def test_row_21_a_false_index_changes_no_byte(tmp_path):
    plain = checkpoint("v3", tmp_path / "v3")
    converted(plain)
    (made,) = (tmp_path / "out").glob("*.gguf")
    expected = made.read_bytes()
    names = [name for name in header(plain / "model.safetensors") if name != "__metadata__"]
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names[1:], "model.safetensors")}
    (plain / INDEX).write_text(json.dumps(index))
    assert len(index_warnings(plain)) == 2
    converted(plain, "--overwrite")
    assert made.read_bytes() == expected


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4302348768\n"


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
def test_row_22_a_git_lfs_pointer_is_refused(folder, file):
    (folder / file).write_bytes(POINTER)
    assert refused(folder) == (
        f"{file}: a Git-LFS pointer, not the file itself; run `git lfs pull` in the folder, or download the file again"
    )


@pytest.mark.parametrize("file", [SHARDS[1], INDEX])
@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html></html>", b"\n <html>\n<body>", b"<?xml version='1.0'?>"])
def test_row_22_an_html_page_is_refused(folder, file, page):
    (folder / file).write_bytes(page)
    assert refused(folder) == f"{file}: an HTML page, not the file itself; download the file again"


def test_row_23_a_duplicate_key_in_the_index_is_refused(folder):
    text = (folder / INDEX).read_text()
    name = next(iter(json.loads(text)["weight_map"]))
    (folder / INDEX).write_text(text.replace('"weight_map": {', f'"weight_map": {{"{name}": "{SHARDS[0]}",', 1))
    assert refused(folder) == f"{INDEX}: the key '{name}' appears twice in one object"


def test_row_23_two_weight_maps_are_refused(folder):
    (folder / INDEX).write_text(f'{{"weight_map": {{"a": "{SHARDS[0]}"}}, "weight_map": {{}}}}')
    assert refused(folder) == f"{INDEX}: the key 'weight_map' appears twice in one object"


def test_row_23_an_index_that_is_not_an_object_is_refused(folder):
    (folder / INDEX).write_text("[]")
    assert refused(folder).startswith(f"{INDEX}: Expected `object`, got `array`")


def test_row_23_an_index_that_names_nothing(folder):
    edit_index(folder, lambda index: index.update(weight_map={}))
    (warning,) = index_warnings(folder)
    assert "but the index has it nowhere" in warning


def test_the_undamaged_checkpoint_is_accepted(folder):
    put_header_text(folder / SHARDS[0], json.dumps(header(folder / SHARDS[0])).encode())
    edit_index(folder, lambda index: index["metadata"].update(total_size=5_441_096.0))
    assert planned(folder)["architecture"] == "deepseek2"
