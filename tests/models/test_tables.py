"""What holds for the table of every family, and for some rows that are not like the others."""

from math import prod

import pytest

from deepgguf.models import find_family, known_families
from deepgguf.models.table import Kind, Part
from deepgguf.samples.configs import config

KINDS = ("v3", "v3-tied", "v2-lite", "deepseek-moe", "ocr")
every_kind = pytest.mark.parametrize("kind", KINDS)


def table(kind, size="sample", mtp_layers=0):
    family = find_family(config(kind, size), "config.json")
    return list(family.table(family.parse(config(kind, size), "config.json"), mtp_layers))


def row(rows, source):
    (found,) = [row for row in rows if row.source == source]
    return found


def shapes(row, target):
    return {o.name: (o.file, row.output_shape(o)) for o in row.outputs[target]}


def test_the_whole_deepseek_v3_has_a_thousand_rows_for_its_45_000_tensors():
    rows = table("v3", "full")
    assert len(rows) == 1025
    assert sum(len(list(row.sources)) for row in rows) == 45_395


@every_kind
def test_no_two_tensors_have_one_name(kind):
    rows = table(kind)
    sources = [name for row in rows for name in row.sources]
    assert len(set(sources)) == len(sources)
    for target in ("ollama", "llama.cpp"):
        outputs = [(output.file, output.name) for row in rows for output in row.outputs[target]]
        assert len(set(outputs)) == len(outputs)


@every_kind
@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
def test_every_weight_of_the_source_becomes_one_weight_of_each_target(kind, target):
    for row in table(kind):
        assert sum(output.view.elements for output in row.outputs[target]) == prod(row.shape)
        for output in row.outputs[target]:
            assert prod(row.output_shape(output)) == output.view.elements * max(1, row.experts)


def test_every_family_has_files_for_both_targets_with_types_for_every_way_of_storing():
    kinds = {"DeepseekV2ForCausalLM": "v2-lite", "DeepseekV3ForCausalLM": "v3", "DeepseekOCRForCausalLM": "ocr"}
    for name, kind in kinds.items():
        for target, made in known_families()[name].targets.items():
            outputs = [output for row in table(kind) for output in row.outputs[target]]
            assert {output.file for output in outputs} == set(made.files)
            assert {output.storage for output in outputs} <= set(made.plain_types)


def test_experts_are_one_row_and_their_output_a_stack():
    up = row(table("v3"), "model.layers.1.mlp.experts.{}.up_proj.weight")
    assert list(up.sources)[4:] == [f"model.layers.1.mlp.experts.{i}.up_proj.weight" for i in (4, 5)]
    assert shapes(up, "ollama") == {"blk.1.ffn_up_exps.weight": ("text", (6, 256, 256))}


def test_kv_b_is_whole_for_ollama_and_split_by_heads_for_llamacpp():
    kv_b = row(table("v3"), "model.layers.0.self_attn.kv_b_proj.weight")
    assert shapes(kv_b, "ollama") == {"blk.0.attn_kv_b.weight": ("text", (256, 64))}
    assert shapes(kv_b, "llama.cpp") == {
        "blk.0.attn_k_b.weight": ("text", (4, 64, 32)),
        "blk.0.attn_v_b.weight": ("text", (4, 32, 64)),
    }


def test_what_sees_is_in_a_file_of_its_own_for_llamacpp():
    for row in table("ocr"):
        sees = row.source.startswith(
            ("model.sam_model.", "model.vision_model.", "model.projector.", "model.image_", "model.view_")
        )
        assert {output.file for output in row.outputs["ollama"]} == {"text"}
        assert {output.file for output in row.outputs["llama.cpp"]} == {"mmproj" if sees else "text"}


def test_the_separator_of_views_is_a_matrix_of_one_row_for_llamacpp():
    separator = row(table("ocr"), "model.view_seperator")
    assert shapes(separator, "ollama") == {"mm.view_seperator": ("text", (256,))}
    assert shapes(separator, "llama.cpp") == {"v.view_seperator": ("mmproj", (1, 256))}


def test_layers_of_multi_token_prediction_are_rows_on_request_that_only_llamacpp_takes():
    rows = table("v3", mtp_layers=1)
    mtp = [row for row in rows if row.source.startswith("model.layers.3.")]
    assert [row for row in rows if row not in mtp] == table("v3")
    assert {row.part for row in mtp} == {Part.MTP}
    assert {target for row in mtp for target in row.outputs} == {"llama.cpp"}
    assert shapes(row(rows, "model.layers.3.eh_proj.weight"), "llama.cpp") == {
        "blk.3.nextn.eh_proj.weight": ("text", (256, 512))
    }
    assert row(rows, "model.layers.3.enorm.weight").kind is Kind.NORM
