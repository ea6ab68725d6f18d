"""`deepgguf verify` as a command: exit status, one line on stderr, a summary or JSON on stdout."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import deepgguf
from deepgguf.formats.gguf.types import GGMLType, row_bytes
from planting import convert, exchange_experts, flip_bit, rewrite

SRC = Path(deepgguf.__file__).parents[1]


def verify(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deepgguf", "verify", *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def file(sample, tmp_path):
    return convert(sample("v3"), tmp_path / "v3.gguf", manifest=True)


def test_a_sound_file_has_status_0(file, sample):
    done = verify(file, sample("v3"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "52 tensors exact, 50 keys" in done.stdout
    assert "dropped, as expected: 23 tensors, multi-token prediction (MTP) layers" in done.stdout
    assert "no difference" in done.stdout


def test_a_sound_file_without_its_source_has_status_0(file):
    done = verify(file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "structure sound, 52 tensors compared with the hashes in" in done.stdout


def test_without_a_manifest_the_summary_says_what_was_not_checked(file):
    file.with_name("v3.gguf.json").unlink()
    done = verify(file)
    assert done.returncode == 0
    assert "contents not checked: there is no v3.gguf.json" in done.stdout


def test_a_difference_has_status_3_and_one_line(file, sample):
    flip_bit(file, "token_embd.weight", 2 * (7 * 256 + 9), 3)
    done = verify(file, sample("v3"))
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("deepgguf: tensor token_embd.weight, row 7, column 9: expected ")
    assert line.endswith("1 of 139,264 weights differ; convert again")


def test_json_has_all_differences(file, sample):
    exchange_experts(file, "blk.2.ffn_down_exps.weight", 0, 3)
    done = verify(file, sample("v3"), "--json")
    assert done.returncode == 3
    found = json.loads(done.stdout)["differences"]
    assert [d["where"] for d in found] == [
        "tensor blk.2.ffn_down_exps.weight, expert 0, row 0, column 0",
        "tensor blk.2.ffn_down_exps.weight, expert 3, row 0, column 0",
    ]
    assert done.stderr.count("\n") == 1
    assert "(and 1 more)" in done.stderr


def test_a_tensor_of_a_type_that_deepgguf_does_not_write_is_a_difference(file, sample):
    def retyped(tensors):
        _, shape, _ = tensors["output.weight"]
        nbytes = shape[0] * row_bytes(GGMLType.IQ2_XXS, shape[1])
        return tensors | {"output.weight": (GGMLType.IQ2_XXS, shape, bytes(nbytes))}

    rewrite(file, tensors=retyped)
    file.with_name("v3.gguf.json").unlink()
    done = verify(file, sample("v3"), "--json")
    assert done.returncode == 3
    assert {"where": "tensor output.weight", "text": "the type", "expected": "BF16",
            "found": "IQ2_XXS"} in json.loads(done.stdout)["differences"]  # fmt: skip


def test_sha256_is_shown(file):
    assert "sha256 " in verify(file, "--sha256").stdout


def test_a_file_that_is_not_there_has_status_2(tmp_path):
    assert verify(tmp_path / "nothing.gguf").returncode == 2
