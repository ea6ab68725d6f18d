"""Source dtypes and output types: FORMAT's table of output types, FP8 with every dtype of scales, overflow."""

import numpy as np
import pytest
from gguf import GGUFReader

from deepgguf import convert, plan
from deepgguf.errors import NonFiniteError
from tiny_checkpoint import OCR, V3, Stored, floats, stored, weights, write_checkpoint

TARGETS = ("ollama", "llama.cpp")
MATRIX, VISION = "blk.0.attn_output.weight", ("v.blk.0.self_attn.out_proj.weight", "s.blk.0.attn.qkv.weight", "mm.layers.weight")  # fmt: skip


def types(folder, target, type="auto"):
    files = plan(folder, target=target, type=type).files
    return {tensor.info.name: tensor.info.type.name for file in files for tensor in file.tensors}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """`source(config, dtype)`: a checkpoint with all its weights of that dtype, or in FP8."""
    root = tmp_path_factory.mktemp("sources")
    made = {}

    def make(kind: str, dtype: str):
        if (kind, dtype) not in made:
            config = {"v3": V3, "ocr": OCR}[kind]
            if dtype == "F8_E4M3":
                config = config | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
            tensors = weights(config, None if dtype == "F8_E4M3" else dtype)
            made[kind, dtype] = write_checkpoint(root / f"{kind}-{dtype}", config, tensors)
        return made[kind, dtype]

    return make


@pytest.mark.parametrize(
    ("target", "dtype", "type", "file_type"),
    [
        ("ollama", "BF16", "BF16", 1),
        ("ollama", "F16", "F16", 1),
        ("ollama", "F32", "F16", 1),
        ("ollama", "F8_E4M3", "BF16", 1),
        ("llama.cpp", "BF16", "BF16", 32),
        ("llama.cpp", "F16", "F16", 1),
        ("llama.cpp", "F32", "F32", 0),
        ("llama.cpp", "F8_E4M3", "BF16", 32),
    ],
)
def test_the_automatic_type_of_matrices_follows_the_source(source, target, dtype, type, file_type):
    found = types(source("v3", dtype), target)
    assert found[MATRIX] == found["blk.1.ffn_gate_exps.weight"] == type
    assert plan(source("v3", dtype), target=target).files[0].keys["general.file_type"].value == file_type


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_ollamas_encoders_are_f16_by_default(source, dtype):
    found = types(source("ocr", dtype), "ollama")
    assert {found[name] for name in VISION} == {"F16"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F8_E4M3"])
@pytest.mark.parametrize("type", ["bf16", "f16", "f32"])
def test_a_chosen_type_replaces_the_automatic_one_for_all_matrices(source, target, dtype, type):
    found = types(source("v3", dtype), target, type)
    matrices = {t for name, t in found.items() if not is_always_f32(name)}
    assert matrices == {type.upper()}
    file_type = plan(source("v3", dtype), target=target, type=type).files[0].keys["general.file_type"].value
    assert file_type == (1 if target == "ollama" else {"bf16": 32, "f16": 1, "f32": 0}[type])


def is_always_f32(name: str) -> bool:
    return name.endswith(("norm.weight", ".bias", "ffn_gate_inp.weight"))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("type", ["auto", "bf16", "f16", "f32"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F8_E4M3"])
def test_norms_biases_and_routers_are_f32_whatever_the_choice(source, target, dtype, type):
    found = types(source("v3", dtype), target, type)
    always = {name for name in found if is_always_f32(name)}
    assert len(always) == 2 * 4 + 1 + 2
    assert {found[name] for name in always} == {"F32"}


@pytest.mark.parametrize("type", ["bf16", "f16", "f32"])
def test_a_chosen_type_replaces_that_of_ollamas_encoders_too(source, type):
    found = types(source("ocr", "BF16"), "ollama", type)
    assert {found[name] for name in VISION} == {type.upper()}
    assert {found[name] for name in ("s.position_embd", "v.position_embd.weight", "s.blk.0.attn.rel_pos_h")} == {"F32"}


@pytest.mark.parametrize(("dtype", "type", "patch"), [
    ("BF16", "auto", "F32"), ("F16", "auto", "F16"), ("F32", "auto", "F32"),
    ("F32", "bf16", "F32"), ("BF16", "f16", "F16"), ("F16", "f32", "F32"), ("BF16", "q8_0", "F32"),
])  # fmt: skip
def test_sams_patch_embedding_is_f16_in_an_f16_mmproj_and_f32_in_any_other(source, dtype, type, patch):
    assert types(source("ocr", dtype), "llama.cpp", type)["v.sam.patch_embd.weight"] == patch


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("type", ["auto", "bf16", "f16", "f32"])
def test_every_weight_is_the_sources_rounded_once(source, tmp_path, target, dtype, type):
    folder = source("v3", dtype)
    convert(folder, tmp_path / "x.gguf", target=target, type=type, jobs=2)
    read = {t.name: t for t in GGUFReader(tmp_path / "x.gguf").tensors}
    expected = floats(weights(V3, dtype)["model.layers.0.self_attn.o_proj.weight"])
    found = read[MATRIX]
    assert numbers(found).tobytes() == rounded(expected, found.tensor_type.name).tobytes()
    experts = [floats(weights(V3, dtype)[f"model.layers.1.mlp.experts.{i}.up_proj.weight"]) for i in range(4)]
    stack = read["blk.1.ffn_up_exps.weight"]
    assert numbers(stack).tobytes() == rounded(np.stack(experts), stack.tensor_type.name).tobytes()


def numbers(tensor) -> np.ndarray:
    if tensor.tensor_type.name == "BF16":
        return (tensor.data.view("<u2").astype("<u4") << 16).view("<f4")
    return tensor.data.astype("<f4")


def rounded(values: np.ndarray, type: str) -> np.ndarray:
    if type == "BF16":
        bits = values.astype("<f4").view("<u4").astype("<u8")
        return (((bits + 0x7FFF + (bits >> 16 & 1)) >> 16) << 16).astype("<u4").view("<f4")
    return values.astype({"F16": "<f2", "F32": "<f4"}[type]).astype("<f4")


HUGE = "model.layers.0.self_attn.o_proj.weight"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_a_finite_number_that_overflows_f16_stops_the_run_naming_the_tensor(tmp_path, target, dtype):
    made = weights(V3, dtype)
    values = floats(made[HUGE]).copy()
    values[5, 7] = 2.0**16
    made[HUGE] = stored(values, dtype)
    folder = write_checkpoint(tmp_path / "x", V3, made)
    with pytest.raises(NonFiniteError, match=r"tensor blk.0.attn_output.weight: 1 finite weights? .*F16"):
        convert(folder, tmp_path / "x.gguf", target=target, type="f16", jobs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_largest_f16_does_not_overflow_and_half_a_step_more_does(tmp_path):
    for value, fits in ((65504.0, True), (65519.0, True), (65520.0, False)):
        made = weights(V3, "F32")
        made[HUGE] = stored(np.full((32, 16), value), "F32")
        folder = write_checkpoint(tmp_path / f"{value}", V3, made)
        if fits:
            convert(folder, tmp_path / f"{value}.gguf", type="f16", jobs=2)
        else:
            with pytest.raises(NonFiniteError):
                convert(folder, tmp_path / f"{value}.gguf", type="f16", jobs=2)


def test_a_finite_number_that_overflows_bf16_stops_the_run_and_advises_f32(tmp_path):
    made = weights(V3, "F32")
    made[HUGE] = stored(np.full((32, 16), np.finfo("<f4").max), "F32")
    folder = write_checkpoint(tmp_path / "x", V3, made)
    with pytest.raises(NonFiniteError, match=r'attn_output.weight: 512 finite .* BF16; choose `type="f32"`$'):
        convert(folder, tmp_path / "x.gguf", type="bf16", jobs=2)


def test_an_encoders_weight_that_overflows_ollamas_f16_stops_the_run(tmp_path):
    made, name = weights(OCR), "model.projector.layers.weight"
    made[name] = stored(np.full(made[name].shape, 2.0**20), "BF16")
    folder = write_checkpoint(tmp_path / "x", OCR, made)
    with pytest.raises(NonFiniteError, match=r"tensor mm.layers.weight"):
        convert(folder, tmp_path / "x.gguf", jobs=2)
    convert(folder, tmp_path / "x.gguf", type="bf16", jobs=2)


def e4m3(data: np.ndarray) -> np.ndarray:
    """OCP 8-bit Floating Point, E4M3: bias 7, no infinities."""
    sign, exponent, mantissa = data >> 7, (data >> 3 & 15).astype(int), data & 7
    magnitude = np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent - 10), mantissa * 2.0**-9)
    return np.where(sign == 1, -magnitude, magnitude).astype("<f4")


SCALES = {
    "F32": (np.array([0.00013, 1.7, 3e-7, 1.0]), lambda v: v.astype("<f4")),
    "F16": (np.array([0.00013, 1.7, 3e-7, 1.0]), lambda v: v.astype("<f2")),
    "BF16": (np.array([0.5, 1.5, 0.0078125, 1.0]), lambda v: (v.astype("<f4").view("<u4") >> 16).astype("<u2")),
    "F8_E8M0": (np.array([2.0**-20, 4.0, 2.0**-3, 1.0]), lambda v: (np.log2(v) + 127).astype("u1")),
    "U8": (np.array([2.0**-20, 4.0, 2.0**-3, 1.0]), lambda v: (np.log2(v) + 127).astype("u1")),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("block", [(128, 128), (16, 16), (7, 5), (1, 16), (32, 1)], ids=str)
@pytest.mark.parametrize("dtype", SCALES)
def test_fp8_is_value_times_scale_for_every_dtype_of_scales_and_any_block(tmp_path, target, dtype, block):
    values, encode = SCALES[dtype]
    rows, columns = -(-32 // block[0]), -(-16 // block[1])
    scales = values[np.arange(rows * columns) % 4].reshape(rows, columns)
    codes = np.arange(512, dtype="u2").reshape(32, 16).astype("u1")
    codes[codes & 0x7F == 0x7F] = 0x30
    made = weights(V3)
    encoded = encode(scales)
    made[HUGE] = Stored("F8_E4M3", (32, 16), codes.tobytes())
    made[f"{HUGE}_scale_inv"] = Stored(dtype, (rows, columns), encoded.tobytes())
    config = V3 | {"quantization_config": {"quant_method": "fp8", "weight_block_size": list(block)}}
    convert(write_checkpoint(tmp_path / "x", config, made), tmp_path / "x.gguf", target=target, jobs=2)
    exact = (scales if dtype in ("F8_E8M0", "U8", "BF16") else encoded).astype("<f4")
    spread = exact.repeat(block[0], 0)[:32].repeat(block[1], 1)[:, :16]
    found = next(t for t in GGUFReader(tmp_path / "x.gguf").tensors if t.name == MATRIX)
    assert found.tensor_type.name == "BF16"
    assert numbers(found).tobytes() == rounded(e4m3(codes) * spread, "BF16").tobytes()


@pytest.mark.parametrize("suffix", ["_scale_inv", "_scale", ".scale"])
def test_scales_go_by_three_names(tmp_path, suffix):
    made = weights(V3)
    made[HUGE] = Stored("F8_E4M3", (32, 16), bytes([0x38]) * 512)
    made[f"{HUGE}{suffix}"] = stored([[0.5]], "F32")
    config = V3 | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    convert(write_checkpoint(tmp_path / "x", config, made), tmp_path / "x.gguf", type="f32", jobs=2)
    found = next(t for t in GGUFReader(tmp_path / "x.gguf").tensors if t.name == MATRIX)
    assert set(found.data.ravel()) == {0.5}


@pytest.mark.parametrize("target", TARGETS)
def test_fp8_blocks_are_counted_from_the_matrix_not_from_the_head(tmp_path, target):
    """kv_b of two heads of 16 rows, split in llama.cpp's layout; blocks of 12 x 10 cross heads and parts."""
    name = "model.layers.0.self_attn.kv_b_proj.weight"
    rng = np.random.default_rng(1)
    codes, scales = rng.integers(0, 0x7F, (32, 16)).astype("u1"), rng.uniform(0.5, 2, (3, 2)).astype("<f4")
    made = weights(V3)
    made[name] = Stored("F8_E4M3", (32, 16), codes.tobytes())
    made[f"{name}_scale_inv"] = Stored("F32", (3, 2), scales.tobytes())
    config = V3 | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [12, 10]}}
    convert(write_checkpoint(tmp_path / "x", config, made), tmp_path / "x.gguf", target=target, jobs=2)
    read = {t.name: numbers(t) for t in GGUFReader(tmp_path / "x.gguf").tensors if t.name.startswith("blk.0.attn_")}
    whole = rounded(e4m3(codes) * scales.repeat(12, 0)[:32].repeat(10, 1)[:, :16], "BF16")
    if target == "ollama":
        assert np.array_equal(read["blk.0.attn_kv_b.weight"], whole)
        return
    heads = whole.reshape(2, 16, 16)
    assert np.array_equal(read["blk.0.attn_k_b.weight"].reshape(2, 16, 8), heads[:, :8].transpose(0, 2, 1))
    assert np.array_equal(read["blk.0.attn_v_b.weight"].reshape(2, 8, 16), heads[:, 8:])
