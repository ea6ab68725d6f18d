"""Rows 140 to 143: several outputs at once."""

import signal
import time
from pathlib import Path

import pytest
from checkpoints import checkpoint
from command import DEEPGGUF, digest, failed, names, refused, run_deepgguf, start_deepgguf

import deepgguf

TYPES = ("q8_0", "bf16")
BOTH = ("--type", ",".join(TYPES))
FILES = ["v3-BF16.gguf", "v3-Q8_0.gguf"]
WHOLE = sorted([*FILES, *(f"{name}.json" for name in FILES)])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("v3", tmp_path_factory.mktemp("source") / "v3")


@pytest.fixture(scope="module")
def alone(source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The SHA-256 of each file, made alone."""
    folder = tmp_path_factory.mktemp("alone")
    for type in TYPES:
        deepgguf.convert(source, f"{folder}/", type=type)
    return {name: digest(folder / name) for name in FILES}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_row_140_two_different_files_of_one_name_are_refused(source, out):
    plans = [deepgguf.plan(source, out / "x.gguf", type=type) for type in TYPES]
    with pytest.raises(deepgguf.UsageError, match=r"x\.gguf: is the name of two files; give them folders of their own"):
        deepgguf.run_together(plans)
    assert names(out) == []


@pytest.mark.parametrize("name", FILES)
def test_row_141_an_output_that_exists_is_refused_before_any_is_begun(source, out, name):
    (out / name).write_bytes(b"old")
    line = refused("convert", source, "-o", out, *BOTH, folder=out, status=2)
    assert line == f"{out / name}: exists; replace it with --overwrite, or give another --output"


def test_row_142_killed_with_some_parts_begun_all_are_resumed(source, out, alone):
    with start_deepgguf("convert", source, "-o", out, *BOTH, "--jobs", "1") as process:
        while not [*out.glob("*.part")] and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert run_deepgguf("convert", source, "-o", out, *BOTH, "--resume").status == 0
    assert {name: digest(out / name) for name in FILES} == alone
    assert names(out) == WHOLE


@pytest.mark.parametrize("call", [12, 60])
def test_row_142_a_disk_that_is_full_in_between_leaves_all_to_be_resumed(source, out, alone, tmp_path, call):
    inject = ("-o", str(tmp_path / "log"), "--trace=pwrite64", f"--inject=pwrite64:error=ENOSPC:when={call}+")
    full = ("strace", "-f", "-qq", *inject, *DEEPGGUF)
    line = failed("convert", source, "-o", out, *BOTH, "--jobs", "1", program=full, status=4)
    assert "the disk is full; what is written stays; run again with --resume" in line
    assert run_deepgguf("convert", source, "-o", out, *BOTH, "--resume").status == 0
    assert {name: digest(out / name) for name in FILES} == alone
    assert names(out) == WHOLE


def test_row_143_a_file_where_a_folder_belongs_is_refused(source, out):
    (out / "ollama").write_bytes(b"")
    line = refused("convert", source, "-o", out, *BOTH, "--target", "llama.cpp,ollama", folder=out, status=2)
    assert line.startswith(f"{out}/ollama: no such folder; ")
