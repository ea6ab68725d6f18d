"""F5, F8, F9: the shards' own headers say what the model is, whatever the index says, wherever the shards lie."""

import json
from pathlib import Path

import pytest
from odd_folders import INDEX, WHOLE, index, lora

from deepgguf import CheckpointError, convert, plan, verify
from hub_cache import as_snapshot
from tiny_checkpoint import V3, weights, write_checkpoint, write_safetensors

OTHER_VERSION = f"{INDEX}: belongs to another version of the model: it names "
HEADERS = "; the shards' own headers are used"
TENSORS = weights(V3)
HALVES = dict(list(TENSORS.items())[:20]), dict(list(TENSORS.items())[20:])
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "v3", V3, TENSORS)


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "v3", V3, *HALVES)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> bytes:
    """What the undisturbed checkpoint becomes."""
    at = tmp_path_factory.mktemp("undisturbed")
    convert(write_checkpoint(at / "v3", V3, TENSORS), at / "v3.gguf")
    return (at / "v3.gguf").read_bytes()


def converts(source: Path, gguf: bytes) -> tuple[str, ...]:
    """The warnings of its plan, after it was converted to the same bytes and verified."""
    out = source.parent / "out.gguf"
    convert(source, out)
    verify(out, source)
    assert out.read_bytes() == gguf
    return plan(source).warnings


@pytest.mark.parametrize("total", [123456789, 0, "1", None])
def test_f5_a_wrong_total_size_is_no_reason_to_stop(whole, gguf, total):
    index(whole, dict.fromkeys(TENSORS, WHOLE), total_size=total)
    said = [f"total_size is {total!r}, but the tensors have"] if total is not None else []
    assert [w.split(": ", 1)[1].startswith(s) for w, s in zip(converts(whole, gguf), said, strict=True)] == [
        True
    ] * len(said)


def test_f5_an_index_that_names_tensors_of_another_version_is_a_warning(whole, gguf):
    scales = {f"{name}_scale_inv": WHOLE for name in TENSORS if name.endswith("proj.weight")}
    index(whole, dict.fromkeys(TENSORS, WHOLE) | scales)
    more = f" (and {len(scales) - 1} more), which no shard has{HEADERS}"
    assert converts(whole, gguf) == (f"{OTHER_VERSION}tensor {next(iter(scales))}{more}",)


@pytest.mark.parametrize("named", ["model-{:05d}-of-00004.safetensors", "part{}.safetensors", "old/part{}.safetensors"])
def test_f5_an_index_that_names_other_shards_is_a_warning(halves, gguf, named):
    index(halves, {name: named.format(1 + i % 4) for i, name in enumerate(TENSORS)})
    assert converts(halves, gguf) == (
        f"{OTHER_VERSION}{named.format(1)} (and 3 more), and the shards are others{HEADERS}",
    )


def test_f5_an_index_that_leaves_out_a_shard_is_a_warning(halves, gguf):
    index(halves, dict.fromkeys(HALVES[0], SHARDS[0]))
    (warning,) = converts(halves, gguf)
    assert warning.startswith(
        f"{INDEX}: tensor {next(iter(HALVES[1]))} lies in {SHARDS[1]}, but the index has it nowhere"
    )


def test_f5_an_index_that_names_nothing_is_a_warning(halves, gguf):
    index(halves, {})
    assert len(converts(halves, gguf)) == 1


def test_f5_shards_in_folders_that_the_index_names_are_read(halves, gguf):
    for shard in SHARDS:
        (halves / "weights" / "a").mkdir(parents=True, exist_ok=True)
        (halves / shard).rename(halves / "weights" / "a" / shard)
    index(halves, {name: f"weights/a/{SHARDS[name in HALVES[1]]}" for name in TENSORS})
    assert converts(halves, gguf) == ()


def test_f5_a_missing_shard_is_still_missing_whatever_the_index_says(halves):
    (halves / SHARDS[1]).unlink()
    index(halves, {name: f"model-0000{1 + i % 4}-of-00004.safetensors" for i, name in enumerate(TENSORS)})
    with pytest.raises(CheckpointError, match=f"^{SHARDS[1]}: this shard is missing, 1 of 2 are there; download it"):
        plan(halves)


@pytest.mark.parametrize("text", ["[]", "{}", '{"weight_map": {"a": "../x.safetensors"}}', '{"weight_map": {"a": 1}}'])
def test_f5_a_damaged_index_may_be_removed(whole, gguf, text):
    (whole / INDEX).write_text(text)
    with pytest.raises(CheckpointError, match="or remove it: without it the shards' own headers say what lies where"):
        plan(whole)
    (whole / INDEX).unlink()
    assert converts(whole, gguf) == ()


@pytest.mark.parametrize("absolute", [True, False])
def test_f8_shards_may_be_symlinks_to_another_disk(halves, gguf, absolute):
    disk = halves.parent / "disk"
    disk.mkdir()
    for shard in SHARDS:
        (halves / shard).rename(disk / shard)
        (halves / shard).symlink_to(disk / shard if absolute else f"../disk/{shard}")
    assert converts(halves, gguf) == ()


def test_f8_the_blobs_of_the_hub_s_cache_may_be_a_symlink_to_another_disk(whole, gguf):
    snapshot = as_snapshot(whole)
    blobs = snapshot.parent.parent / "blobs"
    blobs.rename(whole.parent / "disk")
    blobs.symlink_to(whole.parent / "disk")
    out = whole.parent / "out.gguf"
    convert(snapshot, out)
    assert verify(out, snapshot).differences == ()


def test_f8_a_text_file_still_stays_in_the_folder(whole):
    (whole / "chat_template.jinja").symlink_to("/etc/hostname")
    (whole / "tokenizer_config.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match="^chat_template.jinja: a symlink to /etc/hostname, outside the checkpoint"
    ):
        plan(whole)


def test_f8_blobs_that_lead_to_a_folder_without_shards_are_not_the_cache_s(whole):
    snapshot = as_snapshot(whole)
    secrets, blobs = whole.parent / "secrets", snapshot.parent.parent / "blobs"
    secrets.mkdir()
    (secrets / "config").write_text(json.dumps(V3))
    (snapshot / WHOLE).resolve().rename(snapshot / "shard")
    (snapshot / WHOLE).unlink()
    (snapshot / "shard").rename(snapshot / WHOLE)
    blobs.rename(blobs.parent / "true")
    blobs.symlink_to(secrets)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to("../../blobs/config")
    with pytest.raises(CheckpointError, match="^config.json: a symlink to .*, outside the checkpoint's folder"):
        plan(snapshot)


def test_f8_what_is_no_shard_is_not_read_through_a_symlink_that_is_called_so(whole):
    (whole / WHOLE).unlink()
    (whole / WHOLE).symlink_to("/etc/passwd")
    with pytest.raises(CheckpointError, match="^model.safetensors: a header of"):
        plan(whole)


@pytest.mark.parametrize("name", ["consolidated.safetensors", "model-copy.safetensors", "adapter_model.safetensors"])
def test_f9_a_file_beside_the_model_is_named_and_left(whole, gguf, name):
    write_safetensors(whole / name, lora() if name.startswith("adapter") else TENSORS)
    advice = f"if it belongs to the model, name it in {INDEX}"
    assert converts(whole, gguf) == (f"{name}: not read, since {WHOLE} is the model; {advice}",)


@pytest.mark.parametrize("name", ["consolidated.safetensors", "model.fp16-00001-of-00002.safetensors"])
def test_f9_a_file_beside_the_complete_numbered_set_is_named_and_left(halves, gguf, name):
    write_safetensors(halves / name, HALVES[0])
    (warning,) = converts(halves, gguf)
    assert warning.startswith(f"{name}: not read, since {SHARDS[0]} (and 1 more) is the model")


def test_f9_an_unfinished_set_beside_the_model_is_left(whole, gguf):
    write_safetensors(whole / "model-00002-of-00003.safetensors", HALVES[0])
    assert len(converts(whole, gguf)) == 1


def test_f9_a_model_of_another_name_is_not_confused_by_an_adapter(whole, gguf):
    (whole / WHOLE).rename(whole / "merged.safetensors")
    write_safetensors(whole / "adapter_model.safetensors", lora())
    assert len(converts(whole, gguf)) == 1


def test_f5_shards_may_be_numbered_from_0(tmp_path, gguf):
    source = write_checkpoint(tmp_path / "v3", V3)
    for number, half in enumerate(HALVES):
        write_safetensors(source / f"model-0000{number}-of-00002.safetensors", half)
    assert converts(source, gguf) == ()


def test_f8_a_shard_on_a_disk_that_is_not_there_is_told_so(whole):
    (whole / WHOLE).unlink()
    (whole / WHOLE).symlink_to("/mnt/gone/model.safetensors")
    with pytest.raises(CheckpointError) as error:
        plan(whole)
    assert str(error.value) == (
        f"{WHOLE}: a symlink to /mnt/gone/model.safetensors, where there is no file; "
        "mount the disk that it lies on, or download the file again"
    )
