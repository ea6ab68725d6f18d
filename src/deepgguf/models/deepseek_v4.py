"""DeepSeek-V4: `DeepseekV4ForCausalLM` (Flash, Pro, Base), as released and as transformers saves it.

Names and shapes: the release's model.py and llama.cpp's deepseek4.cpp; layout: conversion/deepseek.py, DeepseekV4Model.
Experts are FP4, FP8 or BF16: what is stored decides. Ollama runs llama.cpp's files.
"""

import re
from collections.abc import Iterator
from functools import partial

import msgspec

from deepgguf.checkpoint.tokenizer import Tokenizer
from deepgguf.encodings.expert_ids import ExpertIds
from deepgguf.encodings.fp4 import Fp4
from deepgguf.encodings.fp8 import Fp8
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType
from deepgguf.models.deepseek_v4_config import SPARSE, WINDOW, DeepseekV4Config, parse
from deepgguf.models.family import Family, KeyFacts, TargetFile
from deepgguf.models.llamacpp import llamacpp_general, llamacpp_target
from deepgguf.models.mtp import MTP_DROPPED
from deepgguf.models.storage import ALWAYS_F32, IDS, MATRIX
from deepgguf.models.table import Kind, Output, Part, Row
from deepgguf.models.tokenizer_keys import llamacpp_tokenizer_keys
from deepgguf.models.values import array, boolean, float32, present, string, uint32
from deepgguf.recipes.choice import Exceptions, Pin
from deepgguf.recipes.patterns import TypePattern
from deepgguf.recipes.recipe import RECIPES
from deepgguf.tensors.view import Shape, View

STAGES_DROPPED = "DSpark stages, which are a model of their own"
_HASH_BIASES = "biases of routers whose experts a table names"
_MTP = re.compile(r"(model\.)?mtp\.\d+\..*")
_SQRT_SOFTPLUS = 4  # llama-hparams.h, enum llama_expert_gating_func_type
_ROUTER_BIAS = re.compile(r"(model\.)?layers\.(\d{1,9})\.ffn\.gate\.bias")

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


def _drop_reason(c: DeepseekV4Config, name: str) -> str | None:
    """Why a source tensor that the converted model does not have is left out; None if it may not be."""
    if _MTP.fullmatch(name):
        return STAGES_DROPPED if c.dspark_target_layer_ids else MTP_DROPPED
    bias = _ROUTER_BIAS.fullmatch(name)
    return _HASH_BIASES if bias and int(bias[2]) < c.num_hash_layers else None


def _mtp_layers(c: DeepseekV4Config) -> int:
    """Releases with DSpark stages promise a layer that these have taken the place of."""
    return 0 if c.dspark_target_layer_ids else c.num_nextn_predict_layers


def _keys(c: DeepseekV4Config, facts: KeyFacts) -> dict[str, Value]:
    """The keys of llama.cpp's converter (deepseek4.cpp, load_arch_hparams)."""
    blocks = c.num_hidden_layers + facts.mtp_layers
    clamp = array(ValueType.FLOAT32, [c.swiglu_limit] * blocks if c.swiglu_limit else None)
    own = {
        "block_count": uint32(blocks),
        "context_length": uint32(c.max_position_embeddings),
        "embedding_length": uint32(c.hidden_size),
        "embedding_length_out": uint32(c.hidden_size * c.hc_mult),
        "attention.head_count": uint32(c.num_attention_heads),
        "attention.head_count_kv": uint32(1),
        "attention.key_length": uint32(c.head_dim),
        "attention.value_length": uint32(c.head_dim),
        "attention.layer_norm_rms_epsilon": float32(c.rms_norm_eps),
        "attention.q_lora_rank": uint32(c.q_lora_rank),
        "attention.sliding_window": uint32(c.sliding_window),
        "attention.output_group_count": uint32(c.o_groups),
        "attention.output_lora_rank": uint32(c.o_lora_rank),
        "attention.compress_ratios": array(ValueType.INT32, c.compress_ratios),
        "attention.compress_rope_freq_base": float32(c.compress_rope_theta),
        "attention.indexer.head_count": uint32(c.index_n_heads),
        "attention.indexer.key_length": uint32(c.index_head_dim),
        "attention.indexer.top_k": uint32(c.index_topk),
        "rope.dimension_count": uint32(c.qk_rope_head_dim),
        "rope.freq_base": float32(c.rope_theta),
        "rope.scaling.type": string("yarn") if c.yarn else None,
        "rope.scaling.factor": float32(c.yarn.factor) if c.yarn else None,
        "rope.scaling.original_context_length": uint32(c.yarn.original_max_position_embeddings) if c.yarn else None,
        "rope.scaling.yarn_beta_fast": float32(c.yarn.beta_fast) if c.yarn else None,
        "rope.scaling.yarn_beta_slow": float32(c.yarn.beta_slow) if c.yarn else None,
        "expert_count": uint32(c.n_routed_experts),
        "expert_used_count": uint32(c.num_experts_per_tok),
        "expert_shared_count": uint32(c.n_shared_experts),
        "expert_feed_forward_length": uint32(c.moe_intermediate_size),
        "expert_gating_func": uint32(_SQRT_SOFTPLUS),
        "expert_weights_scale": float32(c.routed_scaling_factor),
        "expert_weights_norm": boolean(c.norm_topk_prob),
        "hash_layer_count": uint32(c.num_hash_layers),
        "hyper_connection.count": uint32(c.hc_mult),
        "hyper_connection.sinkhorn_iterations": uint32(c.hc_sinkhorn_iters),
        "hyper_connection.epsilon": float32(c.hc_eps),
        "swiglu_clamp_exp": clamp,
        "swiglu_clamp_shexp": clamp,
        "nextn_predict_layers": uint32(facts.mtp_layers or None),
    }
    tokenizer = llamacpp_tokenizer_keys(facts.checkpoint.tokenizer, c.vocab_size)
    return llamacpp_general(facts, "model") | present(own, f"{facts.architecture}.") | tokenizer


def _limits(c: DeepseekV4Config) -> tuple[str, ...]:
    """What llama.cpp b11549 refuses, or computes otherwise (deepseek4.cpp; llama-kv-cache.cpp, the constructor)."""
    betas = (c.yarn.beta_fast, c.yarn.beta_slow) if c.yarn else (32, 1)
    found = {
        f"llama.cpp has hc_mult 4 built in, and this model has {c.hc_mult}: it aborts": c.hc_mult != 4,
        f"llama.cpp crashes where head_dim is index_head_dim, here {c.head_dim}": c.head_dim == c.index_head_dim,
        f"llama.cpp needs an index_head_dim of a multiple of 64, and this is {c.index_head_dim}": c.index_head_dim % 64,
        f"llama.cpp has YaRN's betas 32 and 1 built in, and this model has {betas[0]:g} and {betas[1]:g}: its "
        "answers will differ": betas != (32, 1),
    }  # fmt: skip
    return tuple(text for text, applies in found.items() if applies)


def _prompt_limits(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The release has its template as a program only (encoding/)."""
    if tokenizer.chat_template is not None:
        return ()
    return (
        "the file has no chat template, so that engines take ChatML, which this model does not know: to chat, put "
        "models/templates/deepseek-ai-DeepSeek-V4.jinja of llama.cpp into the checkpoint as chat_template.jinja",
    )


# Hyper-connections decide what reaches every layer, in tables of a few MB: at Q4_K they cost more than the experts.
_STREAMS = Exceptions(pins=(Pin(tuple(RECIPES), TypePattern(r"hc_(attn|ffn)_fn|output_hc_fn", GGMLType.F32)),))

_TARGET = msgspec.structs.replace(
    llamacpp_target({"text": TargetFile("deepseek4", _keys)}, _limits, _STREAMS, ("drop", "only")),
    stored_types={Fp8: GGMLType.Q8_0, Fp4: GGMLType.MXFP4},
    direct=True,
)
FAMILY = Family(
    name="DeepseekV4ForCausalLM",
    parse=parse,
    table=table,
    drop_reason=_drop_reason,
    targets={"llama.cpp": _TARGET, "ollama": msgspec.structs.replace(_TARGET, mtp=("drop",))},
    model_type="deepseek_v4",
    mtp_layers=_mtp_layers,
    prompt_limits=_prompt_limits,
)
