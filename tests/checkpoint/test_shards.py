import json
import pickle
from pathlib import Path

import pytest

from deepgguf import sample as make_sample
from deepgguf.checkpoint.shards import INDEX, Shards, open_shards
from deepgguf.errors import CheckpointError, OutputError
from deepgguf.files.local import LocalFiles
from hub_cache import as_snapshot

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_sample("v3-fp8", tmp_path / "v3", shards=3, scatter=True)
    return tmp_path / "v3"


def catalog(folder: Path) -> Shards:
    shards, warnings = open_shards(LocalFiles(folder), FP8)
    assert warnings == ()
    return shards


class ElsewhereBackwards:
    """An executor whose tasks and results travel, the last task's first."""

    jobs, shares_files = 1, False

    def map(self, work, tasks):
        work, tasks = pickle.loads(pickle.dumps((work, list(tasks))))
        for task in reversed(tasks):
            yield from pickle.loads(pickle.dumps(list(work(task))))


def independent_reading(folder: Path) -> dict[str, tuple[str, str, list[int], bytes]]:
    """(shard, dtype, shape, data) of every tensor, read as the format's page says and nothing more."""
    tensors = {}
    for shard in sorted(folder.glob("*.safetensors")):
        content = shard.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:start]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (shard.name, entry["dtype"], entry["shape"], content[start + begin : start + end])
    return tensors


def test_every_tensor_is_found_in_its_shard_with_its_bytes(folder):
    shards = catalog(folder)
    with LocalFiles(folder) as files:
        read = {
            name: [
                (shards.files[b.file].name, files.read(shards.files[b.file], b.offset, b.nbytes).tobytes())
                for b in t.blobs
            ]
            for name, t in shards.tensors.items()
        }
        shapes = {name: (t.encoding.dtype, list(t.shape)) for name, t in shards.tensors.items()}
    found = independent_reading(folder)
    weights = {name: facts for name, facts in found.items() if not name.endswith("_scale_inv")}
    assert len(found) == 173
    assert shapes == {name: (dtype, shape) for name, (_, dtype, shape, _) in weights.items()}
    assert read == {
        name: [(f[0], f[3]) for f in (found[name], found.get(f"{name}_scale_inv")) if f] for name in weights
    }


def test_tensors_come_in_the_order_of_shards_and_their_data(folder):
    places = [(t.blobs[0].file, t.blobs[0].offset) for t in catalog(folder).tensors.values()]
    assert places == sorted(places)


def test_an_executor_may_read_headers_elsewhere_in_any_order(folder):
    assert open_shards(LocalFiles(folder), FP8, ElsewhereBackwards()) == open_shards(LocalFiles(folder), FP8)


class Lazy(ElsewhereBackwards):
    """An executor that leaves the last task undone."""

    def map(self, work, tasks):
        yield from super().map(work, list(tasks)[:-1])


def test_headers_that_an_executor_has_not_read_are_missed(folder):
    with pytest.raises(OutputError, match="the executor read 2 of 3 headers"):
        open_shards(LocalFiles(folder), {}, Lazy())


def test_files_are_sorted_by_name(folder):
    assert [f.name for f in catalog(folder).files] == [f"model-0000{i}-of-000003.safetensors" for i in (1, 2, 3)]


def test_without_an_index_the_catalog_is_the_same(folder):
    with_index = catalog(folder)
    (folder / INDEX).unlink()
    assert catalog(folder) == with_index


def test_shards_may_have_any_names_if_there_is_no_index(folder):
    names = catalog(folder).tensors.keys()
    (folder / INDEX).unlink()
    for i, shard in enumerate(sorted(folder.glob("*.safetensors"))):
        shard.rename(folder / f"part{i}.safetensors")
    assert catalog(folder).tensors.keys() == names


def test_one_file_needs_no_index(tmp_path):
    make_sample("v3-tied", tmp_path / "v3")
    assert not (tmp_path / "v3" / INDEX).exists()
    assert len(catalog(tmp_path / "v3").tensors) == 90


def test_metadata_of_the_index_may_be_absent_or_empty(folder):
    index = json.loads((folder / INDEX).read_text())
    for metadata in ({}, {"metadata": {}}, {"metadata": None}, {"metadata": {"total_parameters": 1}}):
        (folder / INDEX).write_text(json.dumps({"weight_map": index["weight_map"], **metadata}))
        assert len(catalog(folder).tensors) == 102


def test_files_beside_the_index_s_shards_are_left_alone(folder):
    (folder / "consolidated.safetensors").write_bytes(b"something else")
    assert len(catalog(folder).tensors) == 102


def test_a_whole_model_beside_the_index_s_shards_is_ambiguous(folder):
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"names other shards, but there is a model\.safetensors too; remove one"):
        catalog(folder)


def test_a_folder_without_shards_is_not_a_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match="no safetensors files, though config.json is there; download the shards too"
    ):
        catalog(tmp_path)


def test_shards_without_tensors_are_not_a_checkpoint(tmp_path):
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="the safetensors files hold no tensors"):
        catalog(tmp_path)


@pytest.mark.parametrize("number", [0, 4])
def test_a_number_outside_the_set_is_refused(folder, number):
    (folder / INDEX).unlink()
    stray = f"model-0000{number}-of-000003.safetensors"
    (folder / stray).write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match=f"^{stray}: numbers go from 1 to 3"):
        catalog(folder)


def test_a_snapshot_of_the_hub_s_cache_is_read_through_its_symlinks(folder):
    plain = catalog(folder)
    snapshot = as_snapshot(folder)
    assert catalog(snapshot).tensors == plain.tensors
    assert [f.name for f in catalog(snapshot).files] == [f.name for f in plain.files]
