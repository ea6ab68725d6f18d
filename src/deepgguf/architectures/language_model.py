"""The DeepSeek language model that V2, V3 and DeepSeek-OCR share: attention (MLA or plain), dense and MoE blocks.

Shapes: DeepSeek-V2 (arXiv 2405.04434, section 2), DeepSeek-V3 (arXiv 2412.19437, section 2.1) and the published
modeling_deepseek.py of each.
"""

import re
from collections.abc import Iterator

import msgspec

from deepgguf.architectures.config_schema import (
    JsonObject,
    NotNegative,
    Positive,
    PositiveFloat,
    json_object,
    to_config,
)
from deepgguf.architectures.tensors import Component, ExpectedTensor, Role
from deepgguf.errors import CheckpointError

_BLOCK = re.compile(r"model\.layers\.(\d{1,9})\.")
_COMPUTED = re.compile(r"(.*\.)?(rotary_emb\.inv_freq|embeddings\.position_ids)")


class Yarn(msgspec.Struct, frozen=True):
    """YaRN (arXiv 2309.00071): how the rotary positions are stretched."""

    factor: PositiveFloat
    original_max_position_embeddings: Positive
    beta_fast: PositiveFloat | None = 32.0
    beta_slow: PositiveFloat | None = 1.0
    mscale: float | None = 1.0
    mscale_all_dim: float | None = None


class Fp8Quantization(msgspec.Struct, frozen=True):
    """`quantization_config` of a checkpoint with FP8 weights."""

    quant_method: str
    weight_block_size: tuple[int, int] | None = None


class LanguageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a DeepSeek config.json that decide keys, names or shapes, under their own names."""

    vocab_size: Positive
    hidden_size: Positive
    intermediate_size: Positive
    num_hidden_layers: Positive
    num_attention_heads: Positive
    num_key_value_heads: Positive
    max_position_embeddings: Positive
    rms_norm_eps: PositiveFloat | None
    rope_theta: PositiveFloat | None
    tie_word_embeddings: bool | None

    first_k_dense_replace: NotNegative
    moe_layer_freq: Positive
    moe_intermediate_size: Positive
    n_routed_experts: Positive
    n_shared_experts: Positive
    num_experts_per_tok: Positive
    norm_topk_prob: bool | None
    routed_scaling_factor: float | None
    scoring_func: str | None
    topk_method: str | None
    n_group: NotNegative | None
    topk_group: NotNegative | None

    use_mla: bool
    q_lora_rank: Positive | None
    kv_lora_rank: Positive | None
    qk_nope_head_dim: NotNegative
    qk_rope_head_dim: NotNegative
    v_head_dim: NotNegative

    yarn: Yarn | None = None
    fp8_block: tuple[int, int] | None = None

    @property
    def q_width(self) -> int:
        """Rows of the query projection: heads x (nope + rope dimensions)."""
        return self.num_attention_heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)

    def is_dense(self, block: int) -> bool:
        """Whether `block` has one MLP instead of experts."""
        return block < self.first_k_dense_replace


def parse_language_config(raw: JsonObject, defaults: JsonObject, where: str) -> LanguageConfig:
    """The typed config; absent fields take `defaults`. CheckpointError names the key that is wrong."""
    config = to_config({**raw, **_rope(raw, defaults, where), "fp8_block": _fp8_block(raw, where)}, defaults,
                       LanguageConfig, where)  # fmt: skip
    _check_language(config, where)
    return config


def _check_language(c: LanguageConfig, where: str) -> None:
    def refuse(key: str, found: object, expected: str) -> None:
        raise CheckpointError(where, f"{key} is {found}, expected {expected}", "the engines cannot run such a model")

    if c.moe_layer_freq != 1:
        refuse("moe_layer_freq", c.moe_layer_freq, "1")
    if c.first_k_dense_replace > c.num_hidden_layers:
        refuse("first_k_dense_replace", c.first_k_dense_replace, f"at most num_hidden_layers {c.num_hidden_layers}")
    if c.num_experts_per_tok > c.n_routed_experts:
        refuse("num_experts_per_tok", c.num_experts_per_tok, f"at most n_routed_experts {c.n_routed_experts}")
    if c.scoring_func not in (None, "softmax", "sigmoid"):
        refuse("scoring_func", repr(c.scoring_func), "'softmax' or 'sigmoid'")
    if c.n_group and c.n_routed_experts % c.n_group:
        refuse("n_group", c.n_group, f"a divisor of n_routed_experts {c.n_routed_experts}")
    if c.n_group and c.topk_group and c.topk_group > c.n_group:
        refuse("topk_group", c.topk_group, f"at most n_group {c.n_group}")
    if c.use_mla:
        for key in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            if not getattr(c, key):
                refuse(key, getattr(c, key), "a positive number")
    elif c.hidden_size % c.num_attention_heads or c.num_attention_heads % c.num_key_value_heads:
        refuse("num_attention_heads", c.num_attention_heads, "a divisor of hidden_size, a multiple of its KV heads")


def _rope(raw: JsonObject, defaults: JsonObject, where: str) -> JsonObject:
    """`rope_theta` and `yarn`, from `rope_parameters` (transformers 5) or `rope_scaling` and `rope_theta` (4)."""
    key = "rope_parameters" if raw.get("rope_parameters") is not None else "rope_scaling"
    scaling = raw.get(key)
    if scaling is None:
        return {"rope_theta": raw.get("rope_theta", defaults["rope_theta"]), "yarn": None}
    scaling = json_object(scaling, where, key)
    theta = scaling.get("rope_theta", raw.get("rope_theta", defaults["rope_theta"]))
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind in (None, "default"):
        return {"rope_theta": theta, "yarn": None}
    if kind != "yarn":
        raise CheckpointError(where, f"{key}.type is {kind!r}, expected 'yarn'", "no engine scales DeepSeek otherwise")
    return {"rope_theta": theta, "yarn": dict(scaling)}


def _fp8_block(raw: JsonObject, where: str) -> tuple[int, int] | None:
    """`weight_block_size` of `quantization_config`; its use is checked where scales are paired."""
    if raw.get("quantization_config") is None:
        return None
    quantization = json_object(raw["quantization_config"], where, "quantization_config")
    config = to_config(quantization, {}, Fp8Quantization, f"{where}: quantization_config")
    if config.quant_method != "fp8":
        found = f"quantization_config.quant_method is {config.quant_method!r}, expected 'fp8'"
        raise CheckpointError(where, found, "convert the original checkpoint, not a quantized copy")
    block = config.weight_block_size
    if block is not None and min(block) <= 0:
        raise CheckpointError(
            where, f"quantization_config.weight_block_size is {list(block)}, expected two positive sizes"
        )
    return block


def language_tensors(c: LanguageConfig) -> Iterator[ExpectedTensor]:
    """Every tensor of the language model, block by block; lazy, so that absurd counts cost nothing."""
    yield _language("model.embed_tokens.weight", "token_embd", (c.vocab_size, c.hidden_size))
    for block in range(c.num_hidden_layers):
        yield from _attention(c, block)
        if c.is_dense(block):
            yield from _mlp(c, block, "mlp.", "{}", c.intermediate_size)
        else:
            yield from _experts(c, block)
    yield _language("model.norm.weight", "output_norm", (c.hidden_size,))
    if not c.tie_word_embeddings:
        yield _language("lm_head.weight", "output", (c.vocab_size, c.hidden_size))


def language_drop_reason(c: LanguageConfig, name: str) -> str | None:
    """Why a source tensor that is no part of the converted model is left out; None if it may not be."""
    block = _BLOCK.match(name)
    if block and int(block[1]) >= c.num_hidden_layers:
        return "multi-token prediction (MTP) layers"
    if name == "lm_head.weight" and c.tie_word_embeddings:
        return "lm_head, tied to the token embedding"
    if _COMPUTED.fullmatch(name):
        return "buffers that the engines compute"
    return None


def _language(
    name: str,
    kind: str,
    shape: tuple[int, ...],
    block: int | None = None,
    expert: int | None = None,
    part: str = "weight",
) -> ExpectedTensor:
    return ExpectedTensor(name, Role(Component.LANGUAGE, kind, part, block, expert), shape)


def _attention(c: LanguageConfig, block: int) -> Iterator[ExpectedTensor]:
    p, hidden = f"model.layers.{block}.", c.hidden_size
    yield _language(f"{p}input_layernorm.weight", "attn_norm", (hidden,), block)
    yield from _latent_attention(c, block) if c.use_mla else _plain_attention(c, block)
    yield _language(f"{p}post_attention_layernorm.weight", "ffn_norm", (hidden,), block)


def _latent_attention(c: LanguageConfig, block: int) -> Iterator[ExpectedTensor]:
    p, hidden, heads = f"model.layers.{block}.self_attn.", c.hidden_size, c.num_attention_heads
    rank = c.kv_lora_rank or 0
    if c.q_lora_rank is None:
        yield _language(f"{p}q_proj.weight", "q", (c.q_width, hidden), block)
    else:
        yield _language(f"{p}q_a_proj.weight", "q_a", (c.q_lora_rank, hidden), block)
        yield _language(f"{p}q_a_layernorm.weight", "q_a_norm", (c.q_lora_rank,), block)
        yield _language(f"{p}q_b_proj.weight", "q_b", (c.q_width, c.q_lora_rank), block)
    yield _language(f"{p}kv_a_proj_with_mqa.weight", "kv_a_mqa", (rank + c.qk_rope_head_dim, hidden), block)
    yield _language(f"{p}kv_a_layernorm.weight", "kv_a_norm", (rank,), block)
    yield _language(f"{p}kv_b_proj.weight", "kv_b", (heads * (c.qk_nope_head_dim + c.v_head_dim), rank), block)
    yield _language(f"{p}o_proj.weight", "attn_output", (hidden, heads * c.v_head_dim), block)


def _plain_attention(c: LanguageConfig, block: int) -> Iterator[ExpectedTensor]:
    p, hidden = f"model.layers.{block}.self_attn.", c.hidden_size
    kv = hidden // c.num_attention_heads * c.num_key_value_heads
    for kind, rows in (("q", hidden), ("k", kv), ("v", kv)):
        yield _language(f"{p}{kind}_proj.weight", kind, (rows, hidden), block)
    yield _language(f"{p}o_proj.weight", "attn_output", (hidden, hidden), block)


def _mlp(
    c: LanguageConfig, block: int, path: str, kind: str, width: int, expert: int | None = None
) -> Iterator[ExpectedTensor]:
    p, hidden = f"model.layers.{block}.{path}", c.hidden_size
    yield _language(f"{p}gate_proj.weight", kind.format("gate"), (width, hidden), block, expert)
    yield _language(f"{p}up_proj.weight", kind.format("up"), (width, hidden), block, expert)
    yield _language(f"{p}down_proj.weight", kind.format("down"), (hidden, width), block, expert)


def _experts(c: LanguageConfig, block: int) -> Iterator[ExpectedTensor]:
    p, experts = f"model.layers.{block}.mlp.", c.n_routed_experts
    yield _language(f"{p}gate.weight", "router", (experts, c.hidden_size), block)
    if c.topk_method == "noaux_tc":
        yield _language(f"{p}gate.e_score_correction_bias", "router_bias", (experts,), block, part="bias")
    for expert in range(experts):
        yield from _mlp(c, block, f"mlp.experts.{expert}.", "{}_exps", c.moe_intermediate_size, expert)
    yield from _mlp(c, block, "mlp.shared_experts.", "{}_shexp", c.moe_intermediate_size * c.n_shared_experts)
