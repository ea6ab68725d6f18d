"""The tensors of DeepSeek-V4, by their names in the release, and what llama.cpp's layout makes of them.

Names and shapes: the release's model.py and llama.cpp's deepseek4.cpp; layout: conversion/deepseek.py, DeepseekV4Model.
"""

from collections.abc import Iterator
from functools import partial

import msgspec

from deepgguf.encodings.expert_ids import ExpertIds
from deepgguf.errors import CheckpointError
from deepgguf.models.deepseek_v4_config import SPARSE, WINDOW, DeepseekV4Config
from deepgguf.models.deepseek_v4_vision import vision_table
from deepgguf.models.storage import ALWAYS_F32, IDS, MATRIX
from deepgguf.models.table import Kind, Output, Part, Row
from deepgguf.tensors.view import Shape, View

_STORAGE = {Kind.LINEAR: MATRIX, Kind.ROUTER: MATRIX, Kind.MATRIX: MATRIX, Kind.VOCABULARY: MATRIX, Kind.IDS: IDS}


def row_of(c: DeepseekV4Config, source: str, kind: Kind, shape: Shape, name: str, experts: int = 0) -> Row:
    """A tensor that both targets take whole, by its name in the release."""
    outputs = (Output(name, View.whole(shape), _STORAGE.get(kind, ALWAYS_F32)),)
    form = ExpertIds(c.n_routed_experts) if kind is Kind.IDS else None
    return Row(c.spelled(source), kind, shape, {"ollama": outputs, "llama.cpp": outputs}, experts, form=form)


def table(c: DeepseekV4Config, mtp_layers: int) -> Iterator[Row]:
    """Every tensor in the order of the release's modules; lazy, so that absurd counts cost nothing."""
    vocabulary, both = (c.vocab_size, c.hidden_size), partial(msgspec.structs.replace, part=Part.BOTH)
    yield both(row_of(c, "embed.weight", Kind.VOCABULARY, vocabulary, "token_embd.weight"))
    for n in range(c.num_hidden_layers):
        yield from block_rows(c, f"layers.{n}.", n, c.compress_ratios[n], hashed=n < c.num_hash_layers)
    yield both(row_of(c, "norm.weight", Kind.NORM, (c.hidden_size,), "output_norm.weight"))
    yield both(row_of(c, "head.weight", Kind.VOCABULARY, vocabulary, "output.weight"))
    yield from stream_rows(c, "hc_head", "output_hc", c.hc_mult, 1)
    yield from vision_table(c.vision, c.hidden_size) if c.vision else ()
    if mtp_layers > 1:
        found = f"num_nextn_predict_layers is {mtp_layers}, and a file of MTP layers has room for one"
        raise CheckpointError("config.json", found, 'choose `mtp="drop"`')
    for n in range(mtp_layers):
        for row in _mtp_layer(c, f"mtp.{n}.", c.num_hidden_layers + n):
            yield msgspec.structs.replace(row, part=Part.MTP)


def block_rows(c: DeepseekV4Config, p: str, n: int, ratio: int, *, hashed: bool) -> Iterator[Row]:
    """The tensors of block `n`, called `p` in the release; `hashed`: a table names the experts of every token."""
    hidden, width, ids = c.hidden_size, c.moe_intermediate_size, (c.vocab_size, c.num_experts_per_tok)
    groups, heads = c.o_groups * c.o_lora_rank, c.num_attention_heads * c.head_dim
    experts, mixed = c.n_routed_experts, (2 + c.hc_mult) * c.hc_mult
    rows: list[tuple[str, Kind, Shape, str]] = [
        ("attn.attn_sink", Kind.VECTOR, (c.num_attention_heads,), "attn_sinks"),
        ("attn.wq_a.weight", Kind.LINEAR, (c.q_lora_rank, hidden), "attn_q_a"),
        ("attn.q_norm.weight", Kind.NORM, (c.q_lora_rank,), "attn_q_a_norm"),
        ("attn.wq_b.weight", Kind.LINEAR, (heads, c.q_lora_rank), "attn_q_b"),
        ("attn.wkv.weight", Kind.LINEAR, (c.head_dim, hidden), "attn_kv"),
        ("attn.kv_norm.weight", Kind.NORM, (c.head_dim,), "attn_kv_a_norm"),
        ("attn.wo_a.weight", Kind.LINEAR, (groups, heads // c.o_groups), "attn_output_a"),
        ("attn.wo_b.weight", Kind.LINEAR, (hidden, groups), "attn_output_b"),
        *(_compressor(c, "attn.compressor.", "attn_compressor_", ratio, c.head_dim) if ratio else ()),
        *(_indexer(c) if ratio == SPARSE else ()),
        ("attn_norm.weight", Kind.NORM, (hidden,), "attn_norm"),
        ("ffn_norm.weight", Kind.NORM, (hidden,), "ffn_norm"),
        ("ffn.gate.weight", Kind.ROUTER, (experts, hidden), "ffn_gate_inp"),
        ("ffn.gate.tid2eid", Kind.IDS, ids, "ffn_gate_tid2eid") if hashed else
        ("ffn.gate.bias", Kind.ROUTER_BIAS, (experts,), "exp_probs_b.bias"),
        *((("ffn.gate.bias_vl", Kind.ROUTER_BIAS, (experts,), "exp_probs_b_vl.bias"),) if c.vision else ()),
        *_mlp("ffn.experts.{}.", "exps", width, hidden),
        *_mlp("ffn.shared_experts.", "shexp", width * c.n_shared_experts, hidden),
    ]  # fmt: skip
    for source, kind, shape, name in rows:
        target = f"blk.{n}.{name}" if name.endswith(".bias") else f"blk.{n}.{name}.weight"
        yield row_of(c, p + source, kind, shape, target, experts if "{}" in source else 0)
    for side in ("attn", "ffn"):
        yield from stream_rows(c, f"{p}hc_{side}", f"blk.{n}.hc_{side}", mixed, 3)


def _compressor(
    c: DeepseekV4Config, p: str, name: str, ratio: int, width: int
) -> Iterator[tuple[str, Kind, Shape, str]]:
    """What makes one entry of `ratio` tokens; entries overlap where these are few, and so have twice the width."""
    rows = 2 * width if ratio == SPARSE else width
    yield f"{p}ape", Kind.POSITIONS, (ratio, rows), f"{name}ape"
    yield f"{p}wkv.weight", Kind.MATRIX, (rows, c.hidden_size), f"{name}kv"
    yield f"{p}wgate.weight", Kind.MATRIX, (rows, c.hidden_size), f"{name}gate"
    yield f"{p}norm.weight", Kind.NORM, (width,), f"{name}norm"


def _indexer(c: DeepseekV4Config) -> Iterator[tuple[str, Kind, Shape, str]]:
    queries = (c.index_n_heads * c.index_head_dim, c.q_lora_rank)
    yield "attn.indexer.wq_b.weight", Kind.LINEAR, queries, "indexer.attn_q_b"
    yield "attn.indexer.weights_proj.weight", Kind.MATRIX, (c.index_n_heads, c.hidden_size), "indexer.proj"
    yield from _compressor(c, "attn.indexer.compressor.", "indexer_compressor_", SPARSE, c.index_head_dim)


def _mlp(p: str, name: str, width: int, hidden: int) -> Iterator[tuple[str, Kind, Shape, str]]:
    yield f"{p}w1.weight", Kind.LINEAR, (width, hidden), f"ffn_gate_{name}"
    yield f"{p}w2.weight", Kind.LINEAR, (hidden, width), f"ffn_down_{name}"
    yield f"{p}w3.weight", Kind.LINEAR, (width, hidden), f"ffn_up_{name}"


def stream_rows(c: DeepseekV4Config, source: str, name: str, rows: int, scales: int) -> Iterator[Row]:
    """Hyper-connections (arXiv 2409.19606): how the streams are mixed before a module, and its output into them."""
    for part, shape in (("fn", (rows, c.hc_mult * c.hidden_size)), ("base", (rows,)), ("scale", (scales,))):
        yield row_of(c, f"{source}_{part}", Kind.STREAMS, shape, f"{name}_{part}.weight")


def _mtp_layer(c: DeepseekV4Config, p: str, n: int) -> Iterator[Row]:
    """A block without compression, and what joins it to the model. Base has an embedding and a head of its own.

    Its hyper-connections take the place of the model's, which a file of MTP layers does not have.
    """
    square, vocabulary, nextn = (c.hidden_size, c.hidden_size), (c.vocab_size, c.hidden_size), f"blk.{n}.nextn."
    yield from block_rows(c, p, n, WINDOW, hashed=False)
    joined = row_of(c, f"{p}e_proj.weight", Kind.LINEAR, (c.hidden_size, 2 * c.hidden_size), f"{nextn}eh_proj.weight")
    yield msgspec.structs.replace(joined, shape=square, beside=f"{p}h_proj.weight")
    for source, name in (("enorm", "enorm"), ("hnorm", "hnorm"), ("norm", "shared_head_norm")):
        yield row_of(c, f"{p}{source}.weight", Kind.NORM, (c.hidden_size,), f"{nextn}{name}.weight")
    yield from stream_rows(c, f"{p}hc_head", "output_hc", c.hc_mult, 1)
    for source, name in (("emb.tok_emb", "embed_tokens"), ("head", "shared_head_head")):
        row = row_of(c, f"{p}{source}.weight", Kind.VOCABULARY, vocabulary, f"{nextn}{name}.weight")
        yield msgspec.structs.replace(row, optional=True)
