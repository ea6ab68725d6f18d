"""DeepSeek-V4: what is decided by what is stored, what is refused, what is warned of, and what verification finds."""

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

import deepgguf
from deepgguf import compare, convert, plan, sample
from deepgguf.errors import CheckpointError, NonFiniteError, UsageError
from deepgguf.models.deepseek_v4_config import parse
from deepgguf.planning.needs import memory_needed
from deepgguf.samples.deepseek_v4_configs import v4_config
from planting import change_source, change_tensor, copy_of, exchange_experts, flip_bit
from tiny_checkpoint import Stored, read_tensors, stored
from v4 import v4_weights, write_v4

EXPERT, IDS = "layers.0.ffn.experts.1.w1", "layers.0.ffn.gate.tid2eid"
EXPERTS = "blk.0.ffn_gate_exps.weight"
SMALL = {"num_hidden_layers": 1, "num_hash_layers": 1, "compress_ratios": [0], "num_nextn_predict_layers": 0}


@pytest.fixture(scope="module")
def small() -> dict[str, Stored]:
    return v4_weights("v4", SMALL)


@pytest.fixture
def source(tmp_path, small) -> Path:
    return write_v4(tmp_path / "v4", "v4", SMALL, small)


def refused(folder: Path, **choices: object) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert(folder, folder.parent / "x.gguf", target="llama.cpp", **choices)
    return str(caught.value)


def types(file: Path) -> dict[str, str]:
    return {t.name: t.tensor_type.name for t in GGUFReader(file).tensors}


# What stops a plan or a run, where llama.cpp's converter writes a wrong file.


@pytest.mark.parametrize(("layer", "kind"), [("layers.0.attn.wq_a", "FP8"), (EXPERT, "INT8")])
def test_missing_scales_are_named(layer, kind, tmp_path, small):
    tensors = {name: t for name, t in small.items() if name != f"{layer}.scale"}
    found = refused(write_v4(tmp_path / "v4", "v4", SMALL, tensors))
    assert found.startswith(f"tensor {layer}.weight: {kind}, but there is no {layer}.scale in any shard; download ")


@pytest.mark.parametrize("dtype", ["BF16", None])
def test_scales_that_belong_to_no_codes_are_named(dtype, tmp_path, small):
    layer = "layers.0.attn.wq_a"
    plain = {f"{layer}.weight": stored(np.ones((128, 256)), dtype)} if dtype else {}
    tensors = {name: t for name, t in small.items() if name != f"{layer}.weight"} | plain
    found = refused(write_v4(tmp_path / "v4", "v4", SMALL, tensors))
    assert found.startswith(f"tensor {layer}.{'scale' if dtype else 'weight'}: ")


@pytest.mark.parametrize("type", ["auto", "bf16", "q4_k_m", "mxfp4_moe"])
def test_a_scale_that_is_nan_stops_the_run(type, source):
    change_source(source, f"{EXPERT}.weight", 1, lambda scales: np.where(np.arange(len(scales)) == 21, 255, scales))
    with pytest.raises(NonFiniteError) as caught:
        convert(source, source.parent / "x.gguf", target="llama.cpp", type=type, allow_nonfinite=True)
    found = "the scale of block [2, 5] is nan, expected a positive number"
    assert str(caught.value).startswith(f"tensor {EXPERT}.scale: {found}")
    assert not (source.parent / "x.gguf").exists()


@pytest.mark.parametrize("wrong", [6, -1, 2**32, -(2**63)])
@pytest.mark.parametrize("type", ["auto", "q8_0"])
def test_an_expert_that_does_not_exist_stops_the_run(wrong, type, tmp_path, small):
    ids = np.frombuffer(small[IDS].data, "<i8").reshape(small[IDS].shape).copy()
    ids[7, 1] = wrong
    folder = write_v4(tmp_path / "v4", "v4", SMALL, small | {IDS: Stored("I64", ids.shape, ids.tobytes())})
    assert refused(folder, type=type).startswith(f"tensor {IDS}: row 7, column 1 is expert {wrong}, expected 0 to 5")


def test_expert_ids_of_another_dtype_are_refused(tmp_path, small):
    ids = np.frombuffer(small[IDS].data, "<i8").astype(np.float32).reshape(small[IDS].shape)
    folder = write_v4(tmp_path / "v4", "v4", SMALL, small | {IDS: stored(ids, "F32")})
    assert refused(folder) == f"tensor {IDS}: dtype F32, expected I64"


def config(changes: dict, kind: str = "v4") -> dict:
    return v4_config(kind, "sample") | changes


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"compress_ratios": [0, 4, 8, 4, 4]}, "compress_ratios is 8, expected only 0, 4, 128"),
        ({"compress_ratios": [0, 4]}, "compress_ratios is of length 2, expected one for each of 5 layers"),
        ({"scoring_func": "sigmoid"}, "scoring_func is 'sigmoid', expected 'sqrtsoftplus'"),
        ({"num_experts_per_tok": 7}, "num_experts_per_tok is 7, expected at most n_routed_experts 6"),
        ({"o_groups": 4}, "o_groups is 4, expected a divisor of num_attention_heads"),
        ({"qk_rope_head_dim": 97}, "qk_rope_head_dim is 97, expected at most head_dim 96"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_scaling.type is 'linear', expected 'yarn'"),
        ({"compress_ratios": None}, "neither compress_ratios nor layer_types, which says what each layer is"),
        ({"model_type": "deepseek_v41"}, "model_type is 'deepseek_v41', expected 'deepseek_v4'"),
    ],
)
def test_a_config_that_no_engine_runs_is_refused(changes, found):
    with pytest.raises(CheckpointError) as caught:
        parse(config(changes), "config.json")
    assert str(caught.value).startswith(f"config.json: {found}")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types has 'full_attention', expected one of sliding_attention, "),
        ({"mlp_layer_types": ["moe", "hash_moe", "moe"]}, "mlp_layer_types has another order than 'hash_moe' before"),
        ({"rope_parameters": None}, "rope_parameters is missing, expected an object"),
        ({"rope_parameters": {"main": {}}}, "rope_parameters.compress is missing, expected an object"),
        ({"compress_rates": {"heavily_compressed_attention": 64}}, "layer_types has 'compressed_sparse_attention'"),
    ],
)
def test_a_saved_config_that_says_something_else_is_refused(changes, found):
    with pytest.raises(CheckpointError) as caught:
        parse(config(changes, "v4-hf"), "config.json")
    assert str(caught.value).startswith(f"config.json: {found}")


def test_the_saved_form_of_a_config_says_what_the_released_one_says():
    released, saved = parse(config({}, "v4-bf16"), "config.json"), parse(config({}, "v4-hf"), "config.json")
    names = [name for name in released.__struct_fields__ if name != "saved"]
    assert [getattr(saved, name) for name in names] == [getattr(released, name) for name in names]
    assert (released.saved, saved.saved) == (False, True)


def test_rotary_dimensions_follow_from_their_share_of_a_head():
    saved = {key: value for key, value in config({}, "v4-hf").items() if key != "qk_rope_head_dim"}
    assert parse(saved, "config.json").qk_rope_head_dim == 16


@pytest.mark.parametrize("named", [{"architectures": ["DeepseekV41ForCausalLM"]}, {"architectures": None}])
def test_deepseek_v41_is_refused_by_name(named, source):
    said = json.loads((source / "config.json").read_text()) | {"model_type": "deepseek_v41"} | named
    (source / "config.json").write_text(json.dumps(said))
    found = refused(source)
    assert "; DeepSeek-V4.1 is not supported yet" in found


# What is warned of.


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"hc_mult": 2}, "llama.cpp has hc_mult 4 built in, and this model has 2: it aborts"),
        ({"index_head_dim": 96}, "llama.cpp crashes where head_dim is index_head_dim, here 96"),
        ({"index_head_dim": 32}, "llama.cpp needs an index_head_dim of a multiple of 64, and this is 32"),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 4096, "beta_fast": 16}},
            "llama.cpp has YaRN's betas 32 and 1 built in, and this model has 16 and 1: its answers will differ",
        ),
    ],
)
@pytest.mark.parametrize("target", ["llama.cpp", "ollama"])
def test_what_the_engine_cannot_do_is_said(changes, warning, target, tmp_path):
    folder = write_v4(tmp_path / "v4", "v4", SMALL | changes, v4_weights("v4", SMALL | changes))
    assert warning in plan(folder, target=target).warnings


def test_the_release_is_warned_of_nothing(source):
    assert plan(source).warnings == ()


# What is stored decides.


def test_each_stack_of_experts_has_the_type_of_what_is_stored(tmp_path):
    fp4, fp8, bf16 = (v4_weights(kind, SMALL | {"n_routed_experts": 6}) for kind in ("v4", "v4-base", "v4-bf16"))
    mixed = {name: t for name, t in fp4.items() if ".experts." not in name}
    for form, matrix in ((fp4, "w1"), (fp8, "w2"), (bf16, "w3")):
        mixed |= {name: t for name, t in form.items() if ".experts." in name and f".{matrix}." in name}
    folder = write_v4(tmp_path / "v4", "v4", SMALL, mixed)
    convert(folder, tmp_path / "x.gguf", target="llama.cpp")
    found = types(tmp_path / "x.gguf")
    assert [found[f"blk.0.ffn_{word}_exps.weight"] for word in ("gate", "down", "up")] == ["MXFP4", "Q8_0", "BF16"]


def test_experts_of_one_stack_that_are_stored_differently_become_bf16(tmp_path, small):
    other = {name: t for name, t in v4_weights("v4-base", SMALL).items() if name.startswith(EXPERT)}
    folder = write_v4(tmp_path / "v4", "v4", SMALL, small | other)
    convert(folder, tmp_path / "x.gguf", target="llama.cpp")
    assert types(tmp_path / "x.gguf")[EXPERTS] == "BF16"
    assert deepgguf.verify(tmp_path / "x.gguf", folder).differences == ()


def test_fp8_becomes_q8_0_without_a_bf16_between(tmp_path):
    tensors = v4_weights("v4-base", SMALL)
    name = "layers.0.attn.wq_a.scale"
    tensors[name] = stored(np.full(tensors[name].shape, 1 + 2**-20), "F32")
    folder = write_v4(tmp_path / "v4", "v4-base", SMALL, tensors)
    for type in ("auto", "f32"):
        convert(folder, tmp_path / f"{type}.gguf", target="llama.cpp", type=type)
        assert deepgguf.verify(tmp_path / f"{type}.gguf", folder).differences == ()
    found, exact = (
        next(t for t in GGUFReader(tmp_path / f"{type}.gguf").tensors if t.name == "blk.0.attn_q_a.weight")
        for type in ("auto", "f32")
    )
    weights = exact.data.reshape(-1, 32)
    scales = np.abs(weights).max(axis=1, keepdims=True) / np.float32(127)
    blocks = found.data.reshape(-1, 34)
    assert np.array_equal(blocks[:, :2].copy().view(np.float16), scales.astype(np.float16))
    codes = weights * (np.float32(1) / scales)
    assert np.array_equal(blocks[:, 2:].view(np.int8), np.trunc(codes + np.copysign(np.float32(0.5), codes)))


def test_blocks_of_another_size_than_the_releases_are_those_of_config_json(tmp_path, small):
    """Each scale for 16 blocks of 32 × 32 that lie in its own: the same weights."""
    fp8 = {name for name, t in small.items() if t.dtype == "F8_E4M3"}
    finer = dict(small)
    for rows, cols, name in ((*small[name].shape, f"{name.removesuffix('weight')}scale") for name in fp8):
        scales = np.frombuffer(small[name].data, np.uint8).reshape(small[name].shape)
        scales = scales.repeat(4, 0).repeat(4, 1)[: -(-rows // 32), : -(-cols // 32)]
        finer[name] = Stored("F8_E8M0", scales.shape, scales.tobytes())
    quantization = v4_config("v4", "sample")["quantization_config"] | {"weight_block_size": [32, 32]}
    coarse = write_v4(tmp_path / "coarse" / "v4", "v4", SMALL, small)
    fine = write_v4(tmp_path / "fine" / "v4", "v4", SMALL | {"quantization_config": quantization}, finer)
    for folder in (coarse, fine):
        convert(folder, folder.parent / "x.gguf", target="llama.cpp")
    assert (fine.parent / "x.gguf").read_bytes() == (coarse.parent / "x.gguf").read_bytes()


def test_every_weight_is_equal_where_types_are_the_sources(checkpoint, tmp_path):
    for name in ("v4", "v4-base"):
        made = convert(checkpoint(name), tmp_path / f"{name}.gguf", target="llama.cpp", type="source").files[0].path
        found = deepgguf.verify(made, checkpoint(name)).source.equality
        assert found.weights == found.equal > 0


def test_biases_of_routers_in_layers_with_a_table_are_dropped(tmp_path, small):
    bias = {"layers.0.ffn.gate.bias": stored(np.zeros(6), "F32")}
    made = plan(write_v4(tmp_path / "v4", "v4", SMALL, small | bias))
    assert [d.reason for d in made.dropped] == ["biases of routers whose experts a table names"]


@pytest.mark.parametrize(
    ("kind", "reason", "tensors"),
    [
        ("v4", "multi-token prediction (MTP) layers", 47),
        ("v4-base", "multi-token prediction (MTP) layers", 43),
        ("v4-dspark", "DSpark stages, which are a model of their own", 108),
    ],
)
def test_what_drafts_is_dropped_with_its_reason(kind, reason, tensors, checkpoint):
    (dropped,) = plan(checkpoint(kind)).dropped
    assert (dropped.reason, dropped.tensors) == (reason, tensors)


def test_the_mtp_layer_of_base_keeps_its_own_embedding_and_head(checkpoint, tmp_path):
    convert(checkpoint("v4-base"), tmp_path / "x.gguf", target="llama.cpp", mtp="only")
    assert {"blk.3.nextn.embed_tokens.weight", "blk.3.nextn.shared_head_head.weight"} < types(
        tmp_path / "x.gguf"
    ).keys()


def test_an_mtp_file_of_a_release_with_stages_is_refused(checkpoint, tmp_path):
    with pytest.raises(UsageError, match="'only' is not possible: config.json promises no MTP layers"):
        plan(checkpoint("v4-dspark"), target="llama.cpp", mtp="only")


def test_an_mtp_file_of_two_layers_is_refused(tmp_path):
    changes = SMALL | {"num_nextn_predict_layers": 2}
    folder = write_v4(tmp_path / "v4", "v4", changes, v4_weights("v4", SMALL | {"num_nextn_predict_layers": 1}))
    with pytest.raises(
        CheckpointError, match="num_nextn_predict_layers is 2, and a file of MTP layers has room for one"
    ):
        plan(folder, target="llama.cpp", mtp="only")


def test_a_draft_is_a_file_of_its_own_whatever_type_the_model_gets(checkpoint, tmp_path):
    for type in ("auto", "q4_k_m"):
        folder = tmp_path / type / ""
        folder.mkdir()
        (file,) = convert(checkpoint("v4-dspark"), f"{folder}/x.gguf", target="llama.cpp", draft=True, type=type).files
        assert file.path == folder / "dspark-x.gguf"
    auto, other = (tmp_path / type / "dspark-x.gguf" for type in ("auto", "q4_k_m"))
    assert auto.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("kind", "choices", "found"),
    [
        ("v4", {"target": "llama.cpp"}, "`draft`: config.json describes no draft model (DSpark stages)"),
        ("v3-tied", {"target": "llama.cpp"}, "`draft`: config.json describes no draft model (DSpark stages)"),
        ("v4-dspark", {"target": "ollama"}, "`draft`: no draft model can be written for ollama"),
        ("v4-dspark", {"target": "llama.cpp", "only": "text"}, "`draft` contradicts `only`"),
    ],
)
def test_a_draft_that_cannot_be_is_refused(kind, choices, found, checkpoint):
    with pytest.raises(UsageError) as caught:
        plan(checkpoint(kind), draft=True, **choices)
    assert str(caught.value).startswith(found)


@pytest.mark.parametrize("mtp", ["keep", "only"])
def test_ollama_has_no_file_with_mtp_layers(mtp, source):
    with pytest.raises(UsageError, match="is not possible for ollama"):
        plan(source, target="ollama", mtp=mtp)


# What verification finds in a file of repacked experts.


@pytest.fixture
def file(source) -> Path:
    convert(source, source.parent / "whole.gguf", target="llama.cpp", manifest=False)
    assert compare(source.parent / "whole.gguf", source).differences == ()
    (source.parent / "damaged").mkdir()
    return copy_of(source.parent / "whole.gguf", source.parent / "damaged")


def found(file: Path, source: Path) -> list[str]:
    return [difference.where for difference in compare(file, source).differences]


@pytest.mark.parametrize("bit", [0, 3, 4, 7])
def test_a_changed_nibble_is_found(bit, file, source):
    flip_bit(file, EXPERTS, 17 * 40 + 5, bit)  # of row 5, columns 4 and 20
    assert found(file, source) == [f"tensor {EXPERTS}, expert 0, row 5, column {4 if bit < 4 else 20}"]


def test_a_changed_scale_is_found(file, source):
    flip_bit(file, EXPERTS, 17 * 40, 1)
    assert found(file, source) == [f"tensor {EXPERTS}, expert 0, row 5, column 0"]


def test_a_changed_scale_of_nothing_but_zeros_is_found(source):
    change_source(source, f"{EXPERT}.weight", 0, lambda codes: codes * (np.arange(len(codes)) >= 16))
    convert(source, source.parent / "x.gguf", target="llama.cpp", manifest=False)
    flip_bit(source.parent / "x.gguf", EXPERTS, 64 * 8 * 17, 1)
    assert found(source.parent / "x.gguf", source) == [f"tensor {EXPERTS}, expert 1, row 0, column 0"]


def test_two_experts_exchanged_are_found(file, source):
    exchange_experts(file, EXPERTS, 2, 5)
    assert found(file, source) == [f"tensor {EXPERTS}, expert {expert}, row 0, column 1" for expert in (2, 5)]


def test_a_changed_row_of_expert_ids_is_found(file, source):
    def change(data: np.ndarray, info: object) -> np.ndarray:
        rows = data.view("<i4").reshape(-1, 2)
        rows[77] = rows[77, ::-1]
        return rows

    change_tensor(file, "blk.0.ffn_gate_tid2eid.weight", change)
    assert found(file, source) == ["tensor blk.0.ffn_gate_tid2eid.weight, row 77, column 0"]


# The whole model.


def test_the_whole_flash_has_the_published_counts_and_a_plan_within_bounds(tmp_path):
    made = sample("v4-dspark", tmp_path / "flash", size="flash", shards=46, sparse=True)
    assert (made.tensors, made.nbytes) == (72_317, 166_878_536_440)
    planned = plan(made.folder, target="llama.cpp")
    (file,) = planned.files
    assert round(plan(made.folder, target="llama.cpp", type="source").size / 1e9) == 162
    assert memory_needed(planned, jobs=2) < 300e6
    assert len(file.tensors) == 1328
    assert {t.info.type.name for t in file.tensors} == {"F32", "BF16", "Q8_0", "MXFP4", "I32"}
    assert (
        sum(d.tensors + d.scales for d in planned.dropped) + sum(len(s.blobs) for t in file.tensors for s in t.sources)
        == 72_317
    )


def test_the_sample_without_scales_is_the_one_with_them_decoded(checkpoint):
    released = read_tensors(checkpoint("v4-bf16"))
    saved = read_tensors(checkpoint("v4-hf"))
    name = "layers.1.ffn.experts.2.w2.weight"
    assert released[name] == saved[f"model.{name}"]
