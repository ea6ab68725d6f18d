"""F19: importance matrices that were made with a file of another layout, by another program, or an older one."""

import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path

import gguf
import numpy as np
import pytest

import deepgguf
from deepgguf.encodings.q4_0 import Q40
from deepgguf.encodings.q4_k import Q4K

KV_B, K_B, V_B = (f"blk.1.attn_{part}.weight" for part in ("kv_b", "k_b", "v_b"))
UP, GATE = "blk.1.ffn_up_exps.weight", "blk.1.ffn_gate_exps.weight"
HEADS, RANK, EXPERTS, HIDDEN = 4, 64, 6, 256
Entries = dict[str, np.ndarray]


@pytest.fixture
def source(checkpoint) -> Path:
    return checkpoint("v3-bf16")


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32) + np.float32(0.1)


def all_entries(source: Path, target: str) -> Entries:
    """What llama-imatrix writes of a file for `target`: values for every matrix of every tensor."""
    shapes = {t.info.name: t.info.shape for t in deepgguf.plan(source, target=target).files[0].tensors}
    blocks = {n: s for n, s in shapes.items() if n.startswith("blk.") and len(s) > 1 and "gate_inp" not in n}
    return {n: values(prod(s[:-2]) * s[-1], seed=i) for i, (n, s) in enumerate(sorted(blocks.items()))}


def older_form(path: Path, entries: Mapping[str, np.ndarray]) -> Path:
    body = b"".join(
        struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, v.size) + v.astype("<f4").tobytes()
        for name, v in entries.items()
    )
    path.write_bytes(struct.pack("<i", len(entries)) + body)
    return path


def gguf_form(path: Path, entries: Mapping[str, np.ndarray], counts: Mapping[str, list[float]]) -> Path:
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text.txt"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, v in entries.items():
        count = np.array(counts.get(name, [1.0]), np.float32).reshape(-1, 1)
        writer.add_tensor(f"{name}.in_sum2", v.reshape(len(count), -1))
        writer.add_tensor(f"{name}.counts", count)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def converted(source: Path, folder: Path, matrix: Path, **choices) -> dict[str, bytes]:
    """The tensors of the file that is made with `matrix`, which `verify --remake` agrees with."""
    file = folder / f"{matrix.name}.out.gguf"
    deepgguf.convert(source, file, imatrix=matrix, **{"target": "llama.cpp", "type": "q4_k_m", **choices})
    assert deepgguf.verify(file, source, imatrix=matrix, remake=True).differences == ()
    return {t.name: t.data.tobytes() for t in gguf.GGUFReader(file).tensors}


def warnings(source: Path, matrix: Path, **choices) -> list[str]:
    plan = deepgguf.plan(source, imatrix=matrix, **{"target": "llama.cpp", "type": "q4_k_m", **choices})
    return [warning for warning in plan.warnings if "output.weight, token_embd.weight" not in warning]


def test_f19_data_of_kv_b_serve_v_b_head_by_head(source, tmp_path):
    entries = all_entries(source, "llama.cpp")
    latent = values(RANK, seed=7)
    others = {name: v for name, v in entries.items() if name != V_B}
    whole = older_form(tmp_path / "kv_b.dat", others | {KV_B: latent})
    split = older_form(tmp_path / "v_b.dat", others | {V_B: np.tile(latent, HEADS)})
    without = older_form(tmp_path / "none.dat", others)
    found = converted(source, tmp_path, whole)
    assert found == converted(source, tmp_path, split)
    assert found[V_B] != converted(source, tmp_path, without)[V_B]
    assert warnings(source, whole) == [
        "the importance matrix has no data for attn_v_b: in 1 layer attn_kv_b serves, which has the same input; "
        "a matrix that was made with a file for llama.cpp has them"
    ]


def test_f19_the_mean_of_the_heads_of_v_b_serves_kv_b_where_the_type_needs_one(source, tmp_path, monkeypatch):
    monkeypatch.setattr(Q40, "needs_importance", True)
    entries = all_entries(source, "ollama")
    heads = values(HEADS, RANK, seed=7)
    others = {name: v for name, v in entries.items() if name != KV_B}
    split = older_form(tmp_path / "v_b.dat", others | {V_B: heads.ravel(), K_B: values(HEADS * 32)})
    mean = heads.astype(np.float64).mean(axis=0).astype(np.float32)
    whole = older_form(tmp_path / "kv_b.dat", others | {KV_B: mean})
    how = {"target": "ollama", "tensor_types": "attn_kv_b=q4_0"}
    assert converted(source, tmp_path, split, **how) == converted(source, tmp_path, whole, **how)
    assert warnings(source, split, **how) == [
        "the importance matrix has no data for attn_kv_b: in 1 layer the mean of the heads of attn_v_b serves, which "
        "has the same input; a matrix that was made with a file for ollama has them"
    ]


def test_f19_kv_b_without_data_counts_equally_where_the_type_can_do_without_as_in_llama_quantize(source, tmp_path):
    entries = all_entries(source, "ollama")
    others = {name: v for name, v in entries.items() if name != KV_B}
    split = older_form(tmp_path / "v_b.dat", others | {V_B: values(HEADS * RANK, seed=7), K_B: values(HEADS * 32)})
    without = older_form(tmp_path / "none.dat", others)
    how = {"target": "ollama", "tensor_types": "attn_kv_b=q4_0"}
    assert converted(source, tmp_path, split, **how) == converted(source, tmp_path, without, **how)
    plan = deepgguf.plan(source, imatrix=split, type="q4_k_m", **how)
    assert (
        f"the importance matrix has no data for 3 quantized tensors: {KV_B}, output.weight, token_embd.weight; their "
        "weights count equally"
    ) in plan.warnings


def test_f19_k_b_has_no_data_in_a_matrix_of_the_other_layout_and_the_plan_names_it(source, tmp_path):
    matrix = older_form(tmp_path / "m.dat", all_entries(source, "ollama"))
    plan = deepgguf.plan(source, imatrix=matrix, target="llama.cpp", type="q4_k_m")
    (missing,) = (warning for warning in plan.warnings if "output.weight" in warning)
    assert missing == (
        "the importance matrix has no data for 5 quantized tensors: blk.0.attn_k_b.weight, blk.1.attn_k_b.weight, "
        "blk.2.attn_k_b.weight, output.weight, token_embd.weight; their weights count equally"
    )


@pytest.mark.parametrize("suffix", ["reshaped", "view"])
def test_f19_names_of_views_are_those_of_their_tensors(source, tmp_path, suffix):
    entries = all_entries(source, "llama.cpp")
    viewed = {f"{name} ({suffix})" if "attn_k_b" in name else name: v for name, v in entries.items()}
    matrix = older_form(tmp_path / "viewed.dat", viewed)
    assert converted(source, tmp_path, matrix) == converted(source, tmp_path, older_form(tmp_path / "m.dat", entries))
    assert warnings(source, matrix) == []


def test_f19_heads_that_were_counted_as_one_serve_v_b_but_not_k_b(source, tmp_path):
    entries = all_entries(source, "llama.cpp")
    per_head = entries[K_B].size // HEADS
    one = older_form(tmp_path / "one.dat", entries | {K_B: entries[K_B][:per_head], V_B: entries[V_B][:RANK]})
    tiled = {name: v for name, v in entries.items() if name != K_B} | {V_B: np.tile(entries[V_B][:RANK], HEADS)}
    expected = converted(source, tmp_path, older_form(tmp_path / "expected.dat", tiled))
    assert converted(source, tmp_path, one) == expected
    assert (
        "the importance matrix counts the heads of attn_k_b as one, though each has an input of its own, so this is not "
        "used; make it anew with today's llama-imatrix"
    ) in warnings(source, one)


def test_f19_entries_of_single_experts_are_those_of_their_stack(source, tmp_path):
    entries = all_entries(source, "llama.cpp")
    single = {name: v for name, v in entries.items() if "_exps" not in name}
    for name in entries.keys() - single.keys():
        for expert, v in enumerate(np.split(entries[name], EXPERTS)):
            single[name.replace("_exps.", f".{expert}.")] = v
    matrix = older_form(tmp_path / "single.dat", single)
    assert converted(source, tmp_path, matrix) == converted(source, tmp_path, older_form(tmp_path / "m.dat", entries))
    assert warnings(source, matrix) == []


@pytest.mark.parametrize("other", [GATE, "blk.1.ffn_gate_up_exps.weight"])
def test_f19_matrices_of_an_mlp_that_have_one_input_serve_each_other(source, tmp_path, other):
    entries = all_entries(source, "llama.cpp")
    others = {name: v for name, v in entries.items() if name not in (UP, GATE)}
    v = values(EXPERTS * HIDDEN, seed=7)
    joined = older_form(tmp_path / "joined.dat", others | {other: v})
    expected = converted(source, tmp_path, older_form(tmp_path / "both.dat", others | {UP: v, GATE: v}))
    assert converted(source, tmp_path, joined) == expected


@pytest.mark.parametrize("form", ["counts of 0", "zeros"])
def test_f19_an_expert_without_data_counts_equally_as_in_llama_quantize(source, tmp_path, form):
    entries = all_entries(source, "llama.cpp")
    ones, odd = entries[UP].copy(), entries[UP].copy()
    ones[:HIDDEN], odd[:HIDDEN] = 1, 0
    if form == "zeros":
        matrix = older_form(tmp_path / "odd.dat", entries | {UP: odd})
    else:
        matrix = gguf_form(tmp_path / "odd.gguf", entries | {UP: odd}, {UP: [0.0] + [1.0] * (EXPERTS - 1)})
    expected = converted(source, tmp_path, older_form(tmp_path / "ones.dat", entries | {UP: ones}))
    assert converted(source, tmp_path, matrix) == expected
    assert warnings(source, matrix) == [
        "layer 1: the importance matrix has no data for experts 0; their weights count equally"
    ]


@pytest.mark.parametrize("type", ["iq1_s", "iq2_xxs", "iq3_xxs"])
def test_f19_an_expert_counted_0_times_counts_equally_in_types_that_need_importance_too(source, tmp_path, type):
    entries = all_entries(source, "llama.cpp")
    ones, odd = entries[UP].copy(), entries[UP].copy()
    ones[:HIDDEN], odd[:HIDDEN] = 1, 0
    matrix = gguf_form(tmp_path / "odd.gguf", entries | {UP: odd}, {UP: [0.0] + [1.0] * (EXPERTS - 1)})
    expected = converted(source, tmp_path, older_form(tmp_path / "ones.dat", entries | {UP: ones}), type=type)
    assert converted(source, tmp_path, matrix, type=type) == expected


def test_f19_a_blank_expert_has_the_mean_of_the_others_where_the_type_needs_one(source, tmp_path, monkeypatch):
    monkeypatch.setattr(Q4K, "needs_importance", True)
    entries = all_entries(source, "llama.cpp")
    mean, odd = entries[UP].copy(), entries[UP].copy()
    mean[:HIDDEN] = entries[UP].reshape(EXPERTS, -1)[1:].astype(np.float64).mean(axis=0)
    odd[:HIDDEN] = 0
    matrix = older_form(tmp_path / "odd.dat", entries | {UP: odd})
    expected = converted(source, tmp_path, older_form(tmp_path / "mean.dat", entries | {UP: mean}))
    assert converted(source, tmp_path, matrix) == expected
    assert warnings(source, matrix) == [
        "layer 1: the importance matrix has no data for experts 0; they have the mean of the others"
    ]


def test_f19_entries_of_mtp_layers_do_no_harm_to_a_file_without(source, tmp_path):
    entries = all_entries(source, "llama.cpp")
    more = {"blk.3.ffn_gate_exps.weight": values(EXPERTS * HIDDEN), "blk.3.nextn.eh_proj.weight": values(2 * HIDDEN)}
    matrix = older_form(tmp_path / "more.dat", entries | more)
    assert converted(source, tmp_path, matrix) == converted(source, tmp_path, older_form(tmp_path / "m.dat", entries))
