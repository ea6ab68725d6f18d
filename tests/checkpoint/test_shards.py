import json
from pathlib import Path

import pytest

from deepgguf.checkpoint.shards import INDEX, open_shards
from deepgguf.encodings.fp8 import Fp8
from deepgguf.errors import CheckpointError
from deepgguf.files.local import Sources
from deepgguf.samples import make_sample
from hub_cache import as_snapshot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_sample("v3-fp8", tmp_path / "v3", shards=3, scatter=True)
    return tmp_path / "v3"


def independent_reading(folder: Path) -> dict[str, tuple[str, str, bytes]]:
    """(shard, dtype, data) of every tensor, as the format's page says and no more."""
    tensors = {}
    for shard in sorted(folder.glob("*.safetensors")):
        content = shard.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        for name, entry in json.loads(content[8:start]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (shard.name, entry["dtype"], content[start + begin : start + end])
    return tensors


def test_every_tensor_is_found_in_its_shard_with_its_bytes(folder):
    shards, read = open_shards(folder, (128, 128)), {}
    with Sources(shards.files) as sources:
        for t in shards.tensors.values():
            stored = [(t.name, t.encoding.dtype)]
            if isinstance(t.encoding, Fp8):
                stored.append((t.name + t.encoding.suffix, t.encoding.scale))
            for (name, dtype), blob in zip(stored, t.blobs, strict=True):
                data = sources.read(blob.file, blob.offset, blob.nbytes).tobytes()
                read[name] = (shards.files[blob.file].name, dtype, data)
    assert len(read) == 173
    assert read == independent_reading(folder)


def test_tensors_come_in_the_order_of_shards_and_their_data(folder):
    places = [(t.blobs[0].file, t.blobs[0].offset) for t in open_shards(folder).tensors.values()]
    assert places == sorted(places)


def test_files_are_sorted_by_name(folder):
    assert [f.name for f in open_shards(folder).files] == [f"model-0000{i}-of-000003.safetensors" for i in (1, 2, 3)]


def test_without_an_index_the_catalog_is_the_same(folder):
    with_index = open_shards(folder)
    (folder / INDEX).unlink()
    assert open_shards(folder) == with_index


def test_shards_may_have_any_names_if_there_is_no_index(folder):
    names = open_shards(folder).tensors.keys()
    (folder / INDEX).unlink()
    for i, shard in enumerate(sorted(folder.glob("*.safetensors"))):
        shard.rename(folder / f"part{i}.safetensors")
    assert open_shards(folder).tensors.keys() == names


def test_one_file_needs_no_index(tmp_path):
    make_sample("v3-tied", tmp_path / "v3")
    assert not (tmp_path / "v3" / INDEX).exists()
    assert len(open_shards(tmp_path / "v3").tensors) == 90


def test_metadata_of_the_index_may_be_absent_or_empty(folder):
    index = json.loads((folder / INDEX).read_text())
    for metadata in ({}, {"metadata": {}}, {"metadata": None}, {"metadata": {"total_parameters": 1}}):
        (folder / INDEX).write_text(json.dumps({"weight_map": index["weight_map"], **metadata}))
        assert len(open_shards(folder).tensors) == 102


def test_files_beside_the_index_s_shards_are_left_alone(folder):
    (folder / "consolidated.safetensors").write_bytes(b"something else")
    assert len(open_shards(folder).tensors) == 102


def test_a_whole_model_beside_the_index_s_shards_is_a_question(folder):
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"names other shards, but there is a model\.safetensors too; remove one"):
        open_shards(folder)


def test_a_folder_without_shards_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="no safetensors files; give the folder"):
        open_shards(tmp_path)


def test_shards_without_tensors_are_no_checkpoint(tmp_path):
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="the safetensors files hold no tensors"):
        open_shards(tmp_path)


@pytest.mark.parametrize("number", [0, 4])
def test_a_number_outside_the_set_is_refused(folder, number):
    (folder / INDEX).unlink()
    stray = f"model-0000{number}-of-000003.safetensors"
    (folder / stray).write_bytes((2).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match=f"^{stray}: numbers go from 1 to 3"):
        open_shards(folder)


def test_a_snapshot_of_the_hub_s_cache_is_read_through_its_symlinks(folder):
    plain = open_shards(folder)
    snapshot = as_snapshot(folder)
    assert open_shards(snapshot).tensors == plain.tensors
    assert [f.name for f in open_shards(snapshot).files] == [f.name for f in plain.files]
