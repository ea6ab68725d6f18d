"""Rows 44 to 47: NaN, Inf and overflow, and rows that do not fit the blocks."""

import struct
from pathlib import Path

import numpy as np
import pytest
from checkpoints import checkpoint, converted, edit_header, edit_json, header, planned, put_values, refused

WEIGHT = "model.layers.1.mlp.experts.2.up_proj.weight"
NAN, INF, MINUS_INF = 0x7FC0, 0x7F80, 0xFF80  # of BF16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoint("v3", tmp_path / "v3")


def put_bf16(folder: Path, *bits: int, at: int = 0) -> Path:
    """Writes these BF16 numbers into the weight, starting at element `at`."""
    put_values(folder / "model.safetensors", WEIGHT, struct.pack(f"<{len(bits)}H", *bits), at=2 * at)
    return folder


@pytest.mark.parametrize("type", ["auto", "f16", "f32", "q8_0", "q4_k_m"])
def test_row_44_nan_and_inf_are_counted_and_refused(folder, type):
    line = refused(put_bf16(folder, NAN, INF, MINUS_INF, 0xFFFF), "--type", type, "--jobs", "2")
    assert line.startswith("tensor blk.1.ffn_up_exps.weight: 2 weights are NaN and 2 infinite")


def test_row_44_nan_and_inf_are_converted_with_allow_nonfinite(folder):
    put_bf16(folder, NAN, INF, at=7)
    assert "NaN 1, Inf 1" in converted(folder, "--allow-nonfinite").stdout


@pytest.mark.parametrize("type", ["q8_0", "q4_0", "q6_k", "q2_k"])
@pytest.mark.parametrize("bits", [NAN, INF])
def test_row_44_nan_and_inf_are_refused_by_quantized_types_even_with_allow_nonfinite(folder, type, bits):
    line = refused(put_bf16(folder, bits), "--type", type, "--allow-nonfinite")
    assert line.startswith("tensor blk.1.ffn_up_exps.weight: ")
    assert "cannot hold; choose --type bf16" in line


def test_row_44_nan_in_fp8_is_refused(tmp_path):
    folder = checkpoint("v3-fp8", tmp_path / "v3-fp8")
    put_values(folder / "model.safetensors", WEIGHT, b"\x7f\xff")
    assert refused(folder).startswith("tensor blk.1.ffn_up_exps.weight: 2 weights are NaN and 0 infinite")


def test_row_45_overflow_when_narrowing_to_f16_is_refused(folder):
    line = refused(put_bf16(folder, 0x4780, 0xC780), "--type", "f16")  # 65536 and -65536
    assert (
        line
        == "tensor blk.1.ffn_up_exps.weight: 2 finite weights are too large for F16; choose --type bf16 or --type f32"
    )


def test_row_45_overflow_is_refused_even_with_allow_nonfinite(folder):
    assert "1 finite weights are too large" in refused(put_bf16(folder, 0x4780), "--type", "f16", "--allow-nonfinite")


def test_row_45_the_largest_bf16_within_f16_does_not_overflow(folder):
    converted(put_bf16(folder, 0x477F), "--type", "f16")  # 65280


def test_row_45_fp8_that_overflows_with_its_scale_is_refused(tmp_path):
    folder = checkpoint("v3-fp8", tmp_path / "v3-fp8")
    put_values(folder / "model.safetensors", WEIGHT, b"\x7e")  # 448
    put_values(folder / "model.safetensors", f"{WEIGHT}_scale_inv", struct.pack("<f", 3e38))
    assert "0 weights are NaN and 8678 infinite" in refused(folder)


def test_row_46_a_tensor_whose_rows_do_not_fit_the_blocks_becomes_f16(tmp_path):
    """Rows of 255 weights: Q8_0 needs a multiple of 32, and llama-quantize has no fallback."""
    folder = checkpoint("v3", tmp_path / "v3")
    edit_json(folder / "config.json", lambda config: config.update(moe_intermediate_size=255))
    path = folder / "model.safetensors"
    content = header(path)
    end = 0
    for name in sorted(content.keys() - {"__metadata__"}, key=lambda n: content[n]["data_offsets"]):
        entry = content[name]
        if ".experts." in name or ".shared_experts." in name:
            entry["shape"][1 if "down_proj" in name else 0] = 255
        size = int(np.prod(entry["shape"])) * {"BF16": 2, "F32": 4}[entry["dtype"]]
        entry["data_offsets"], end = [end, end + size], end + size
    path.rename(folder / "old")
    path.write_bytes((folder / "old").read_bytes())
    (folder / "old").unlink()
    edit_header(path, lambda old: old.update(content), data_bytes=end)
    tensors = {t["name"]: t for t in planned(folder, "--type", "q8_0")["files"][0]["tensors"]}
    down = tensors["blk.1.ffn_down_exps.weight"]
    assert (down["type"], tensors["blk.1.ffn_up_exps.weight"]["type"]) == ("F16", "Q8_0")
    assert "rows of 255 are not a multiple of 32: F16 instead of Q8_0" in down["note"]
    converted(folder, "--type", "q8_0")


@pytest.mark.parametrize(
    "type", ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "iq4_nl", "q2_k", "q3_k_m", "q4_k_m", "q5_k_m", "q6_k", "iq4_xs"]
)
def test_row_47_a_quantization_scale_that_overflows_is_refused(folder, type):
    """3e38 is finite, but no F16 scale times a code of a few bits reaches it."""
    put_bf16(folder, 0x7F61, 0xFF61, at=2 * 256 + 3)
    line = refused(folder, "--type", type, "--allow-nonfinite")
    assert line.startswith("tensor blk.1.ffn_up_exps.weight: row 514 has weights that are too large for the scales of ")


def test_row_47_the_largest_scale_does_not_overflow(folder):
    converted(put_bf16(folder, 0x4A00, at=5), "--type", "q8_0")  # 2097152 = 127 x 16513
