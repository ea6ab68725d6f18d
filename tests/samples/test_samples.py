import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf import convert
from deepgguf import sample as make_sample
from deepgguf.checkpoint.nested_config import NESTS
from deepgguf.errors import CheckpointError, OutputError, UsageError
from deepgguf.formats.gguf.decode import read_header
from deepgguf.samples.configs import KINDS
from deepgguf.samples.kimi_configs import KINDS as KIMI_KINDS
from deepgguf.samples.make import TOKENIZERS, sample_tensors
from deepgguf.samples.ocr_family_configs import KINDS as OCR_KINDS
from deepgguf.samples.recipe import elements, splitmix64
from deepgguf.samples.shards import scattered, split
from deepgguf.samples.tensors import Fill, SampleTensor

EXPECTED = json.loads((Path(__file__).parent / "sha256.json").read_text())
VARIANTS = {
    "v3-bf16": ("v3", 2, False),
    "v3-fp8": ("v3-fp8", 3, True),
    "v3-tied": ("v3-tied", 1, False),
    "v2-lite": ("v2-lite", 1, False),
    "deepseek-moe": ("deepseek-moe", 2, False),
    "ocr": ("ocr", 2, False),
    "v32-fp8": ("v32", 3, True),
    "v32-bf16": ("v32-bf16", 2, False),
    "v4": ("v4", 4, True),
    "v4-dspark": ("v4-dspark", 3, False),
    "v4-base": ("v4-base", 3, True),
    "v4-bf16": ("v4-bf16", 2, False),
    "v4-hf": ("v4-hf", 1, False),
    "v4-vision": ("v4-vision", 3, False),
    **{kind: (kind, 3, True) for kind in (*OCR_KINDS, *KIMI_KINDS)},
}


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def header(shard: Path) -> dict[str, dict]:
    with shard.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return {name: entry for name, entry in json.loads(file.read(length)).items() if name != "__metadata__"}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_file_has_its_recorded_sha256(name, tmp_path):
    kind, shards, scatter = VARIANTS[name]
    make_sample(kind, tmp_path / name, shards=shards, scatter=scatter)
    assert digests(tmp_path / name) == EXPECTED[name]


def test_the_summary_counts_tensors_their_bytes_and_shards(tmp_path):
    summary = make_sample("v3", tmp_path / "new", shards=2)
    shards = sorted((tmp_path / "new").glob("*.safetensors"))
    entries = [entry for shard in shards for entry in header(shard).values()]
    assert summary.folder == tmp_path / "new"
    assert (summary.tensors, summary.shards) == (len(entries), len(shards)) == (102, 2)
    assert summary.nbytes == sum(end - start for start, end in (entry["data_offsets"] for entry in entries))


def test_the_whole_deepseek_v3_occupies_megabytes_when_sparse(tmp_path):
    summary = make_sample("v3-fp8", tmp_path / "v3", size="full", shards=163, scatter=True, sparse=True)
    files = list((tmp_path / "v3").iterdir())
    assert (summary.tensors, summary.shards) == (91_991, 163)
    assert summary.nbytes == 688_574_839_360
    assert sum(file.stat().st_size for file in files) > summary.nbytes
    assert sum(file.stat().st_blocks * 512 for file in files) < 64e6


@pytest.mark.parametrize(
    ("kind", "size", "tensors", "nbytes"),
    [
        ("v4-dspark", "flash", 72_317, 166_878_536_440),
        ("v4-dspark", "full", 72_317, 166_878_536_440),
        ("v4-dspark", "pro", 149_782, 892_727_580_904),
        ("v4", "flash", 69_187, 159_609_485_896),
    ],
)
def test_deepseek_v4_has_the_published_numbers_of_tensors_and_bytes(kind, size, tensors, nbytes):
    made = sample_tensors(kind, size)
    assert (len(made), sum(tensor.nbytes for tensor in made)) == (tensors, nbytes)


def test_the_whole_deepseek_v32_has_its_92_425_tensors(tmp_path):
    summary = make_sample("v32", tmp_path / "v32", size="full", shards=163, scatter=True, sparse=True)
    assert (summary.tensors, summary.nbytes) == (92_425, 689_469_018_240)


def test_a_sparse_shard_has_the_header_and_the_size_of_a_dense_one(tmp_path):
    make_sample("v3", tmp_path / "dense")
    make_sample("v3", tmp_path / "sparse", sparse=True)
    dense, sparse = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("dense", "sparse"))
    data = 8 + int.from_bytes(dense[:8], "little")
    assert sparse == dense[:data] + bytes(len(dense) - data)


def test_one_shard_has_no_index(tmp_path):
    make_sample("v3-tied", tmp_path)
    assert "model.safetensors.index.json" not in digests(tmp_path)


def test_v2_lite_takes_the_tokenizer_of_its_family(tmp_path):
    make_sample("v2-lite", tmp_path, sparse=True)
    assert (tmp_path / "tokenizer.json").read_bytes() == (TOKENIZERS / "sample-v2" / "tokenizer.json").read_bytes()


def tokenizer_of(folder: Path, tokens: int) -> Path:
    """A folder with a tokenizer of so many tokens."""
    folder.mkdir()
    model = {"type": "BPE", "vocab": {f"t{i}": i for i in range(tokens)}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model}))
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def test_another_tokenizer_is_copied_as_it_is(tmp_path):
    own = tokenizer_of(tmp_path / "own", 10)
    make_sample("v3", tmp_path / "out", sparse=True, tokenizer=own)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (own / name).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [544, 545, 1000])
def test_the_vocabulary_grows_to_hold_another_tokenizer_s_tokens(tmp_path, kind, tokens):
    vocabulary = max(tokens, 768) if kind in KIMI_KINDS else tokens
    made = make_sample(kind, tmp_path / "out", tokenizer=tokenizer_of(tmp_path / "own", tokens))
    config = json.loads((made.folder / "config.json").read_text())
    parts = [part for part in (config, *(config.get(key, {}) for key in NESTS)) if "vocab_size" in part]
    assert {part["vocab_size"] for part in parts} == {vocabulary}
    report = convert(made.folder, tmp_path / "out.gguf", only="text")
    header = read_header(report.files[0].path)
    assert len(header.keys["tokenizer.ggml.tokens"].value) == vocabulary
    assert next(t.shape for t in header.tensors if t.name == "token_embd.weight") == (
        vocabulary,
        parts[-1]["hidden_size"],
    )


def test_a_damaged_tokenizer_is_refused_before_anything_is_written(tmp_path):
    own = tokenizer_of(tmp_path / "own", 10)
    (own / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(CheckpointError, match=r"^tokenizer\.json: Object missing required field `model`"):
        make_sample("v3", tmp_path / "out", tokenizer=own)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"kind": "v5"}, f"v5: no such kind of sample; choose one of {', '.join(KINDS)}"),
        ({"size": "huge"}, "huge: no such size of sample; choose one of sample, bench, full, flash, pro"),
        ({"shards": 0}, "`shards` must be at least 1, not 0"),
        ({"shards": -3}, "`shards` must be at least 1, not -3"),
        (
            {"kind": "ocr", "size": "full"},
            "ocr: exists in the size 'sample' only, not 'full'; choose v3, v3-fp8, v3-tied, v32, v32-bf16, v4, v4-dspark, v4-base, v4-bf16, v4-hf, v4-vision",
        ),
        (
            {"kind": "v2-lite", "size": "bench"},
            "v2-lite: exists in the size 'sample' only, not 'bench'; choose v3, v3-fp8, v3-tied, v4, v4-dspark, v4-base, v4-bf16, v4-hf, v4-vision",
        ),
        (
            {"kind": "v32", "size": "bench"},
            "v32: exists in the size 'sample' or 'full' only, not 'bench'; choose v3, v3-fp8, v3-tied, v4, v4-dspark, v4-base, v4-bf16, v4-hf, v4-vision",
        ),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused_before_anything_is_written(arguments, message, tmp_path):
    kind = arguments.pop("kind", "v3")
    with pytest.raises(UsageError) as caught:
        make_sample(kind, tmp_path / "out", **arguments)
    assert str(caught.value) == message
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"tokenizer\.json: not there"):
        make_sample("v3", tmp_path / "out", tokenizer=tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_anything_is_left_as_it_is(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"a day of downloading")
    with pytest.raises(UsageError, match="exists and is not an empty folder; name a new one"):
        make_sample("v3", tmp_path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"a day of downloading"]


def test_a_file_in_place_of_the_folder_is_left_as_it_is(tmp_path):
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(UsageError, match="exists and is not an empty folder"):
        make_sample("v3", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"a file"


def test_a_folder_below_a_file_is_an_output_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        make_sample("v3", tmp_path / "file" / "out")


def test_a_checkpoint_larger_than_the_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(OutputError, match=r"9,498,344 bytes are needed, 1,000,000 are free"):
        make_sample("v3", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_scatter_puts_scales_into_other_shards_than_their_weights():
    shards = split(scattered(sample_tensors("v3-fp8", "sample")), 3)
    holder = {tensor.name: shard.file for shard in shards for tensor in shard.tensors}
    weights = [name for name in holder if f"{name}_scale_inv" in holder]
    assert any(holder[name] != holder[f"{name}_scale_inv"] for name in weights)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shards", [1, 2, 7, 1000])
def test_splitting_keeps_all_tensors_in_order_and_makes_no_empty_shard(kind, shards):
    tensors = sample_tensors(kind, "sample")
    parts = split(tensors, shards)
    assert [tensor for part in parts for tensor in part.tensors] == tensors
    assert all(part.tensors for part in parts)
    assert len(parts) <= shards


@pytest.mark.parametrize("kind", KINDS)
def test_tensor_names_are_unique(kind):
    names = [tensor.name for tensor in sample_tensors(kind, "sample")]
    assert len(set(names)) == len(names)


def test_offsets_leave_no_gap():
    (part,) = split(sample_tensors("v3-fp8", "sample"), 1)
    placed = list(part.placed())
    assert placed[0][1] == len(part.header)
    assert all(offset + tensor.nbytes == after for (tensor, offset), (_, after) in pairwise(placed))
    assert placed[-1][1] + placed[-1][0].nbytes == part.nbytes


def test_splitmix64_begins_with_its_published_values():
    assert splitmix64(0, 0, 1).tolist() == [0xE220A8397B1DCDAF]


def test_splitmix64_wraps_at_two_to_the_64():
    assert splitmix64(2**64 - 1, 1, 2).tolist() == [0xE220A8397B1DCDAF]


@given(st.sampled_from(Fill), st.integers(0, 1000), st.integers(1, 100), st.integers(1, 100))
def test_elements_do_not_depend_on_how_they_are_cut(fill, start, first, second):
    tensor = SampleTensor("model.layers.0.mlp.up_proj.weight", (2000,), fill)
    whole = elements(tensor, start, start + first + second)
    parts = [elements(tensor, start, start + first), elements(tensor, start + first, start + first + second)]
    assert np.array_equal(whole, np.concatenate(parts))


def test_fp8_bytes_hold_no_nan_and_every_other_byte():
    tensor = SampleTensor("model.layers.0.mlp.up_proj.weight", (1 << 16,), Fill.FP8)
    assert set(elements(tensor, 0, 1 << 16).tolist()) == set(range(256)) - {0x7F, 0xFF}


def test_scales_are_between_one_and_two_ten_thousandths():
    scales = elements(SampleTensor("a.weight_scale_inv", (10_000,), Fill.SCALE), 0, 10_000)
    assert scales.dtype == np.float32
    assert np.float32(1e-4) <= scales.min() < scales.max() <= np.float32(2e-4)
