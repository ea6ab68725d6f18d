"""The tensors of a DeepSeek language model, in the order of its modules.

Names and shapes: `modeling_deepseek.py` as published with DeepSeek-V2, DeepSeek-V3 and DeepSeek-OCR.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.samples.tensors import Fill, SampleTensor

FP8_BLOCK = 128


class LanguageConfig(msgspec.Struct, frozen=True):
    """The fields of config.json that decide names, shapes and dtypes."""

    hidden_size: int
    intermediate_size: int
    moe_intermediate_size: int
    vocab_size: int
    num_hidden_layers: int
    first_k_dense_replace: int
    n_routed_experts: int
    n_shared_experts: int
    topk_method: str
    num_attention_heads: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    q_lora_rank: int | None
    kv_lora_rank: int | None
    use_mla: bool = True
    tie_word_embeddings: bool = False
    num_nextn_predict_layers: int = 0
    quantization_config: dict[str, object] | None = None


def language_model(config: dict[str, object], mtp_experts: int | None = None) -> Iterator[SampleTensor]:
    """All tensors of a language model with this configuration, MTP layers included.

    `mtp_experts` is the number of routed experts in an MTP layer, by default as many as in any other.
    """
    c = msgspec.convert(config, LanguageConfig)
    yield SampleTensor("model.embed_tokens.weight", (c.vocab_size, c.hidden_size))
    for i in range(c.num_hidden_layers):
        yield from _layer(f"model.layers.{i}.", c, i < c.first_k_dense_replace, c.n_routed_experts)
    for i in range(c.num_hidden_layers, c.num_hidden_layers + c.num_nextn_predict_layers):
        yield from _mtp_layer(f"model.layers.{i}.", c, c.n_routed_experts if mtp_experts is None else mtp_experts)
    yield _norm("model.norm.weight", c.hidden_size)
    if not c.tie_word_embeddings:
        yield SampleTensor("lm_head.weight", (c.vocab_size, c.hidden_size))


def _layer(prefix: str, c: LanguageConfig, dense: bool, experts: int) -> Iterator[SampleTensor]:
    yield _norm(prefix + "input_layernorm.weight", c.hidden_size)
    yield from _mla(prefix + "self_attn.", c) if c.use_mla else _full_attention(prefix + "self_attn.", c)
    yield _norm(prefix + "post_attention_layernorm.weight", c.hidden_size)
    if dense:
        yield from _mlp(prefix + "mlp.", c, c.intermediate_size)
    else:
        yield from _mixture_of_experts(prefix + "mlp.", c, experts)


def _mtp_layer(prefix: str, c: LanguageConfig, experts: int) -> Iterator[SampleTensor]:
    yield from _layer(prefix, c, dense=False, experts=experts)
    for name in ("enorm", "hnorm", "shared_head.norm"):
        yield _norm(f"{prefix}{name}.weight", c.hidden_size)
    yield SampleTensor(prefix + "eh_proj.weight", (c.hidden_size, 2 * c.hidden_size))
    yield SampleTensor(prefix + "embed_tokens.weight", (c.vocab_size, c.hidden_size))
    yield SampleTensor(prefix + "shared_head.head.weight", (c.vocab_size, c.hidden_size))


def _mla(prefix: str, c: LanguageConfig) -> Iterator[SampleTensor]:
    """Multi-head latent attention; V2-Lite projects its queries directly, without a latent (`q_lora_rank` null)."""
    assert c.kv_lora_rank is not None
    queries = c.num_attention_heads * (c.qk_nope_head_dim + c.qk_rope_head_dim)
    if c.q_lora_rank:
        yield from _linear(prefix + "q_a_proj.weight", c, c.q_lora_rank, c.hidden_size)
        yield _norm(prefix + "q_a_layernorm.weight", c.q_lora_rank)
        yield from _linear(prefix + "q_b_proj.weight", c, queries, c.q_lora_rank)
    else:
        yield from _linear(prefix + "q_proj.weight", c, queries, c.hidden_size)
    yield from _linear(prefix + "kv_a_proj_with_mqa.weight", c, c.kv_lora_rank + c.qk_rope_head_dim, c.hidden_size)
    yield _norm(prefix + "kv_a_layernorm.weight", c.kv_lora_rank)
    keys_and_values = c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim)
    yield from _linear(prefix + "kv_b_proj.weight", c, keys_and_values, c.kv_lora_rank)
    yield from _linear(prefix + "o_proj.weight", c, c.hidden_size, c.num_attention_heads * c.v_head_dim)


def _full_attention(prefix: str, c: LanguageConfig) -> Iterator[SampleTensor]:
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        yield from _linear(f"{prefix}{name}.weight", c, c.hidden_size, c.hidden_size)


def _mixture_of_experts(prefix: str, c: LanguageConfig, experts: int) -> Iterator[SampleTensor]:
    yield SampleTensor(prefix + "gate.weight", (c.n_routed_experts, c.hidden_size), Fill.ROUTER)
    if c.topk_method == "noaux_tc":
        yield SampleTensor(prefix + "gate.e_score_correction_bias", (c.n_routed_experts,), Fill.CORRECTION_BIAS)
    for expert in range(experts):
        yield from _mlp(f"{prefix}experts.{expert}.", c, c.moe_intermediate_size)
    yield from _mlp(prefix + "shared_experts.", c, c.moe_intermediate_size * c.n_shared_experts)


def _mlp(prefix: str, c: LanguageConfig, width: int) -> Iterator[SampleTensor]:
    yield from _linear(prefix + "gate_proj.weight", c, width, c.hidden_size)
    yield from _linear(prefix + "up_proj.weight", c, width, c.hidden_size)
    yield from _linear(prefix + "down_proj.weight", c, c.hidden_size, width)


def _linear(name: str, c: LanguageConfig, rows: int, columns: int) -> Iterator[SampleTensor]:
    """A matrix that an FP8 checkpoint quantizes, followed there by its scales, one per block of 128 × 128."""
    if c.quantization_config is None:
        yield SampleTensor(name, (rows, columns))
    else:
        yield SampleTensor(name, (rows, columns), Fill.FP8)
        yield SampleTensor(f"{name}_scale_inv", (-(-rows // FP8_BLOCK), -(-columns // FP8_BLOCK)), Fill.SCALE)


def _norm(name: str, width: int) -> SampleTensor:
    return SampleTensor(name, (width,), Fill.NORM)
