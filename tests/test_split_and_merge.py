"""Sets are split and joined with the bytes of llama-gguf-split of October 2026, whose files had these digests."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter

from deepgguf import merge, split
from deepgguf.errors import GGUFError, UsageError

JOINED = "601234f56ff4c6b9"
FILES = {
    (): ["392b7ce30c479c54"],
    (("split_max_size", "1M"),): ["a1be35f224a35afb", "48032d1e0603810a"],
    (("split_max_tensors", 3),): ["504e942725d73bd3", "c5a06ae734727e80", "27f864035b3e7d73"],
    (("split_max_tensors", 3), ("no_tensor_first_split", True)): [
        "b2f81b56685a29da",
        "393409b16def2c1d",
        "4a02d99e724ce4db",
        "71fff0bc6aa7fd02",
    ],
}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.fixture
def whole(tmp_path):
    """Seven tensors: plain, quantized, numbers; one with a NaN, and one with a dimension of 1 that ggml does not write."""
    path = tmp_path / "whole.gguf"
    writer = GGUFWriter(path, "any")
    writer.add_string("general.name", "Whole")
    writer.add_array("any.list", [1, 2, 3])
    numbers = np.arange(65536, dtype=np.float32).reshape(256, 256)
    for name, data in {
        "blk.0.f32": np.where(numbers == 5, np.float32("nan"), numbers),
        "blk.0.f16": np.minimum(numbers, 60000).astype(np.float16),
        "blk.1.i32": numbers.astype(np.int32),
        "blk.1.one": numbers.reshape(1, 65536),
        "blk.2.stack": numbers.reshape(2, 128, 256),
        "norm": numbers[0, :5],
        "token_embd": -numbers,
    }.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(("limits", "expected"), FILES.items())
def test_a_file_is_split_as_llama_gguf_split_does(limits, expected, whole, tmp_path):
    report = split(whole, tmp_path / "x.gguf", **dict(limits))
    assert [digest(file.path) for file in report.files] == expected


@pytest.mark.parametrize("limits", FILES)
def test_a_set_is_joined_as_llama_gguf_split_does_whichever_file_is_given(limits, whole, tmp_path):
    files = split(whole, tmp_path / "x.gguf", **dict(limits)).files
    merge(files[-1].path, tmp_path / "joined.gguf")
    assert digest(tmp_path / "joined.gguf") == JOINED


def test_a_set_is_split_anew_as_the_whole_file_is(whole, tmp_path):
    files = split(whole, tmp_path / "x.gguf", split_max_tensors=2).files
    report = split(files[0].path, tmp_path / "y.gguf", split_max_size="1M")
    assert [digest(file.path) for file in report.files] == FILES[(("split_max_size", "1M"),)]


def test_a_file_that_was_joined_can_be_split_again(whole, tmp_path):
    files = split(whole, tmp_path / "x.gguf", split_max_tensors=3).files
    merge(files[0].path, tmp_path / "joined.gguf")
    again = split(tmp_path / "joined.gguf", tmp_path / "y.gguf", split_max_tensors=3).files
    assert [digest(file.path) for file in again] == [digest(file.path) for file in files]


def test_a_tensor_that_is_larger_than_a_file_may_be_is_refused(whole, tmp_path):
    with pytest.raises(UsageError, match=r"200,000 bytes are too few for blk\.0\.f32: 262,144 are needed"):
        split(whole, tmp_path / "x.gguf", split_max_size="200K")


def test_a_whole_file_is_not_joined(whole, tmp_path):
    with pytest.raises(UsageError, match="no file of a split set"):
        merge(whole, tmp_path / "joined.gguf")


def test_a_set_that_lacks_a_file_is_refused_by_its_name(whole, tmp_path):
    files = split(whole, tmp_path / "x.gguf", split_max_tensors=3).files
    files[1].path.unlink()
    with pytest.raises(GGUFError, match=r"x-00002-of-00003\.gguf: this file of a split set of 3 is missing"):
        merge(files[0].path, tmp_path / "joined.gguf")
