import pytest

import deepgguf
from deepgguf.report.components import place_of


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("blk.3.ffn_down_exps.weight", ("routed experts", "ffn_down_exps", 3)),
        ("blk.3.ffn_up_shexp.weight", ("shared experts", "ffn_up_shexp", 3)),
        ("blk.0.ffn_up.weight", ("dense layers", "ffn_up", 0)),
        ("blk.60.attn_kv_a_norm.weight", ("norms", "norms", 60)),
        ("blk.5.exp_probs_b.bias", ("router", "router", 5)),
        ("blk.5.indexer.attn_q_b.weight", ("indexer", "indexer.attn_q_b", 5)),
        ("blk.2.attn_compressor_kv.weight", ("attention", "attn_compressor_kv", 2)),
        ("blk.61.nextn.eh_proj.weight", ("multi-token prediction", "nextn.eh_proj", 61)),
        ("v.blk.7.attn_qkv.bias", ("vision", "v.attn_qkv", 7)),
        ("token_embd.weight", ("embedding", "token_embd", None)),
        ("output.weight", ("output", "output", None)),
        ("blk.9999999.x", ("other", "blk.9999999.x", None)),
    ],
)
def test_a_name_says_where_a_tensor_belongs(name, place):
    assert place_of(name) == place


@pytest.mark.parametrize("kind", ["v2-lite", "v3-fp8", "v4-vision", "ocr", "kimi-k25"])
def test_every_tensor_of_a_sample_belongs_somewhere(checkpoint, kind):
    files = deepgguf.plan(checkpoint(kind), target="llama.cpp").files
    assert {place_of(t.info.name).component for file in files for t in file.tensors} & {"other"} == set()
