"""Rows 35 to 41: FP8 scales, experts, output names."""

import struct
from pathlib import Path

import pytest
from accidents import with_accident
from checkpoints import checkpoint, edit_header, edit_json, header, put_header_text, put_values, refused

EXPERT = "model.layers.1.mlp.experts.{}.{}_proj.weight"
FP8 = "model.layers.1.mlp.experts.2.up_proj.weight"
SCALE = f"{FP8}_scale_inv"


@pytest.fixture
def fp8(tmp_path: Path) -> Path:
    return checkpoint("v3-fp8", tmp_path / "v3-fp8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint("v3", tmp_path / "v3")


def shard(folder: Path) -> Path:
    """The checkpoint's only shard, as its own file: edits must not reach through the hard link."""
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


def rename(folder: Path, old: str, new: str) -> None:
    edit_header(shard(folder), lambda content: content.update({new: content.pop(old)}))


def remove(folder: Path, *names: str) -> None:
    """Removes tensors and their bytes from the shard."""
    path = shard(folder)
    content = header(path)
    kept, end = {"__metadata__": {}}, 0
    for name, entry in content.items():
        if name != "__metadata__" and name not in names:
            size = entry["data_offsets"][1] - entry["data_offsets"][0]
            kept[name] = entry | {"data_offsets": [end, end + size]}
            end += size
    edit_header(path, lambda old: (old.clear(), old.update(kept)), data_bytes=end)


def add(folder: Path, name: str, dtype: str, shape: list[int], nbytes: int) -> None:
    """Appends a tensor of zeros to the shard."""
    path = shard(folder)
    end = max(e["data_offsets"][1] for n, e in header(path).items() if n != "__metadata__")
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + nbytes]}
    edit_header(path, lambda content: content.update({name: entry}), data_bytes=end + nbytes)


def test_row_35_a_missing_scale_is_refused(fp8):
    remove(fp8, SCALE)
    found = f"tensor {FP8}: FP8, but there is no {FP8}_scale_inv in any shard"
    assert refused(fp8) == f"{found}; download the shard that has it, or compare with the original checkpoint"


def test_row_35_an_orphaned_scale_is_refused(fp8):
    add(fp8, "model.layers.1.mlp.experts.9.up_proj.weight_scale_inv", "F32", [2, 2], 16)
    found = "belongs to quantized weights, but there is no model.layers.1.mlp.experts.9.up_proj.weight"
    assert found in refused(fp8)


def test_row_35_a_scale_under_two_names_is_refused(fp8):
    add(fp8, f"{FP8}_scale", "F32", [2, 2], 16)
    assert refused(fp8) == f"tensor {FP8}: has scales twice, {SCALE} and {FP8}_scale"


@pytest.mark.parametrize("shape", [[4], [1, 4], [4, 1], [2, 2, 1]])
def test_row_35_a_scale_of_the_wrong_shape_is_refused(fp8, shape):
    edit_header(shard(fp8), lambda content: content[SCALE].update(shape=shape))
    assert refused(fp8).startswith(f"tensor {SCALE}: shape {shape}, expected [2, 2] for blocks of [128, 128] in ")


def test_row_35_a_scale_of_the_wrong_dtype_is_refused(fp8):
    edit_header(shard(fp8), lambda content: content[SCALE].update(dtype="I32"))
    assert refused(fp8).startswith(f"tensor {SCALE}: scales of dtype I32, expected F32, F16, BF16 or E8M0")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "-0.5"])
@pytest.mark.parametrize("option", ["--allow-nonfinite", "--type=q8_0"])
def test_row_36_a_scale_that_is_not_a_positive_number_is_refused(fp8, value, option):
    put_values(fp8 / "model.safetensors", SCALE, struct.pack("<f", float(value)), at=12)
    found = f"tensor {SCALE}: the scale of block [1, 1] is {float(value)}, expected a positive number"
    assert refused(fp8, option) == f"{found}; compare the shard's checksum with the original's"


@pytest.mark.parametrize("block", [[0, 128], [128, 0], [0, 0], [-128, 128]])
def test_row_37_a_block_size_of_zero_or_less_is_refused(fp8, block):
    edit_json(fp8 / "config.json", lambda config: config["quantization_config"].update(weight_block_size=block))
    assert refused(fp8) == (
        f"config.json: quantization_config.weight_block_size is {block}, expected two sizes of 1 to 2^32"
    )


@pytest.mark.parametrize("block", [[128], [128, 128, 128], 128, "128", [1.5, 128], [2**64, 128]])
def test_row_37_a_block_size_that_is_not_a_pair_of_sizes_is_refused(fp8, block):
    edit_json(fp8 / "config.json", lambda config: config["quantization_config"].update(weight_block_size=block))
    line = refused(fp8)
    assert "weight_block_size" in line or "for blocks of [18446744073709551616, 128]" in line


@pytest.mark.parametrize("block", [[2**63, 2**63], [128, 2**63], [2**32 + 1, 128]])
def test_row_98_a_block_size_that_no_kernel_counts_is_refused(fp8, block):
    edit_json(fp8 / "config.json", lambda config: config["quantization_config"].update(weight_block_size=block))
    line = refused(fp8)
    assert line == f"config.json: quantization_config.weight_block_size is {block}, expected two sizes of 1 to 2^32"


def test_row_37_a_block_size_that_does_not_fit_the_scales_is_refused(fp8):
    edit_json(fp8 / "config.json", lambda config: config["quantization_config"].update(weight_block_size=[64, 64]))
    assert "for blocks of [64, 64] in " in refused(fp8)


def test_row_38_a_missing_expert_is_refused(folder):
    remove(folder, EXPERT.format(3, "up"))
    assert refused(folder).startswith(
        f"tensor {EXPERT.format(3, 'up')}: config.json promises it, but no shard holds it"
    )


def test_row_38_an_extra_expert_is_refused(folder):
    add(folder, EXPERT.format(6, "up"), "BF16", [256, 256], 2 * 256 * 256)
    assert refused(folder).startswith(f"tensor {EXPERT.format(6, 'up')}: is unknown: config.json does not promise it")


@pytest.mark.parametrize("number", ["02", "+2", " 2", "2\u0660", "٢"])
def test_row_38_an_expert_number_that_only_looks_alike_is_refused(folder, number):
    rename(folder, EXPERT.format(2, "up"), EXPERT.format(number, "up"))
    found = f"no shard holds it, but there is {EXPERT.format(number, 'up')}, for which the model has no place"
    assert refused(folder).startswith(f"tensor {EXPERT.format(2, 'up')}: {found}")


def test_row_38_a_duplicate_expert_is_refused(folder):
    path = shard(folder)
    text = path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")]
    put_header_text(path, text.replace(b"experts.3.up_proj", b"experts.2.up_proj", 1))
    assert refused(folder) == f"model.safetensors: the key '{EXPERT.format(2, 'up')}' appears twice in one object"


def test_row_39_an_expert_of_another_shape_is_refused(folder):
    edit_header(shard(folder), lambda content: content[EXPERT.format(2, "up")].update(shape=[128, 512]))
    assert refused(folder).startswith(f"tensor {EXPERT.format(2, 'up')}: shape [128, 512], expected [256, 256]")


@pytest.mark.parametrize("dtype", ["I16", "U16"])
def test_row_39_an_expert_of_a_dtype_that_holds_no_weights_is_refused(folder, dtype):
    edit_header(shard(folder), lambda content: content[EXPERT.format(2, "up")].update(dtype=dtype))
    assert refused(folder).startswith(f"tensor {EXPERT.format(2, 'up')}: dtype {dtype}, expected one of BF16, F16, F32")


def with_names(folder: Path, accident: str) -> str:
    """The refusal of a changed layout: no checkpoint brings a real one to such a name."""
    from command import refused as refused_by

    out = folder.parent / "out"
    out.mkdir()
    program = with_accident(accident)
    return refused_by("convert", folder, "-o", out, folder=folder.parent, status=1, program=program)


def test_row_40_an_output_name_over_63_bytes_is_refused(folder):
    name = f"output_norm{'x' * 46}.weight"
    assert with_names(folder, "long_name") == (
        f"output tensor '{name}': the name has 64 bytes, and GGUF's engines hold 63"
    )


def test_row_41_two_sources_for_one_output_name_are_refused(folder):
    assert with_names(folder, "same_name") == (
        "output tensor 'output_norm.weight': two tensors have this name; the checkpoint holds the tensor twice"
    )
