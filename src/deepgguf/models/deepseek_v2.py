"""DeepSeek-V2, V2.5, V2-Lite, Coder-V2: `DeepseekV2ForCausalLM` (arXiv 2405.04434).

Ollama: convert/convert_deepseek2.go, with the corrections of docs/differences.md. llama.cpp: conversion/deepseek.py.
"""

from deepgguf.formats.gguf.types import GGMLType, Value, ValueType
from deepgguf.models.config_schema import JsonObject
from deepgguf.models.engine_limits import engine_limits
from deepgguf.models.family import Family, KeyFacts, TargetFile
from deepgguf.models.language_keys import beta_keys, gating_function, group_keys, rope_keys, size_keys
from deepgguf.models.language_model import (
    LanguageConfig,
    language_mtp_layers,
    language_table,
    parse_language_config,
    text_drop_reason,
)
from deepgguf.models.llamacpp import llamacpp_general, llamacpp_target
from deepgguf.models.ollama import ollama_target
from deepgguf.models.tokenizer_keys import llamacpp_tokenizer_keys, ollama_tokenizer_keys
from deepgguf.models.values import array, boolean, float32, present, string, uint32
from deepgguf.recipes.choice import Exceptions, Pin
from deepgguf.recipes.patterns import TypePattern

# What configuration_deepseek.py of DeepSeek-V2 gives a field that config.json leaves out.
DEFAULTS: JsonObject = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "moe_layer_freq": 1,
    "scoring_func": "softmax",
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "topk_method": "greedy",
    "n_group": None,
    "topk_group": None,
    "q_lora_rank": 1536,
    "use_mla": True,
}

# Ollama keeps the narrow attention projections at Q8_0 in its two Q4_K mixtures (llama-quant.cpp of its fork).
_Q8_ATTENTION = Pin(("q4_k_s", "q4_k_m"), TypePattern(r"attn_(q_a|q_b|kv_a_mqa|k_b|v_b)\.weight", GGMLType.Q8_0))

NARROW = Exceptions(pins=(_Q8_ATTENTION,))


def _parse(config: JsonObject, where: str) -> LanguageConfig:
    return parse_language_config(config, DEFAULTS, where)


def ollama_keys(c: LanguageConfig, facts: KeyFacts) -> dict[str, Value]:
    """The keys of Ollama's converter, and the expert groups."""
    general = {
        "architecture": string(facts.architecture),
        "type": string("model"),
        "quantization_version": uint32(2),
    }
    own = {
        **size_keys(c),
        **group_keys(c),
        **rope_keys(c),
        "attention.head_count_kv": uint32(c.num_key_value_heads),
        "attention.key_length": uint32(c.qk_nope_head_dim + c.qk_rope_head_dim),
        "attention.value_length": uint32(c.v_head_dim),
        "attention.kv_lora_rank": uint32(c.kv_lora_rank),
        "attention.q_lora_rank": uint32(c.q_lora_rank),
        "expert_gating_func": gating_function(c),
        "expert_weights_norm": boolean(c.norm_topk_prob),
        "expert_weights_scale": float32(c.routed_scaling_factor),
        "rope.dimension_count": uint32(c.qk_rope_head_dim),
        "source_quantization": string("hf_fp8") if facts.fp8_tensors else None,
        "source_fp8_tensors": array(ValueType.STRING, sorted(facts.fp8_tensors) or None),
    }
    tokenizer = ollama_tokenizer_keys(facts.checkpoint.tokenizer, c.vocab_size)
    return present(general, "general.") | present(own, f"{facts.architecture}.") | tokenizer


def llamacpp_keys(c: LanguageConfig, facts: KeyFacts) -> dict[str, Value]:
    """MLA as attention with one KV head (deepseek2.cpp): keys of rank + rope dimensions, values of rank."""
    rank = c.kv_lora_rank or 0
    own = {
        **size_keys(c),
        "block_count": uint32(c.num_hidden_layers + facts.mtp_layers),
        **group_keys(c),
        **rope_keys(c),
        "vocab_size": uint32(c.vocab_size),
        "attention.head_count_kv": uint32(1),
        "attention.key_length": uint32(rank + c.qk_rope_head_dim),
        "attention.value_length": uint32(rank),
        "attention.key_length_mla": uint32(c.qk_nope_head_dim + c.qk_rope_head_dim),
        "attention.value_length_mla": uint32(c.v_head_dim),
        "attention.kv_lora_rank": uint32(rank),
        "attention.q_lora_rank": uint32(c.q_lora_rank),
        "expert_gating_func": gating_function(c),
        "expert_weights_norm": boolean(c.norm_topk_prob or None),
        "expert_weights_scale": float32(c.routed_scaling_factor),
        "rope.dimension_count": uint32(c.qk_rope_head_dim),
        **beta_keys(c),
        "nextn_predict_layers": uint32(facts.mtp_layers or None),
    }
    tokenizer = llamacpp_tokenizer_keys(facts.checkpoint.tokenizer, c.vocab_size)
    return llamacpp_general(facts, "model") | present(own, f"{facts.architecture}.") | tokenizer


# What the models do with groups of experts (modeling_deepseek.py), and the engines otherwise (build_moe_ffn).
_GROUPS = {
    "group_limited_greedy": "topk_method is group_limited_greedy: the model ranks groups of experts by their best "
    "expert, the engines by their best two; some tokens will be routed to other experts than in the original",
    "greedy": "topk_method is greedy: the model chooses among all experts, but n_group and topk_group make the engines "
    "choose groups of them first; set both to 1",
}


def _limits(c: LanguageConfig) -> tuple[str, ...]:
    chosen = c.n_group and c.n_group > 1 and c.topk_group != c.n_group
    return (*engine_limits(c), *((_GROUPS[c.topk_method],) if chosen and c.topk_method in _GROUPS else ()))


FAMILY = Family(
    name="DeepseekV2ForCausalLM",
    parse=_parse,
    table=language_table,
    drop_reason=text_drop_reason,
    targets={
        "ollama": ollama_target(TargetFile("deepseek2", ollama_keys), NARROW),
        "llama.cpp": llamacpp_target({"text": TargetFile("deepseek2", llamacpp_keys)}, mtp=("drop", "keep", "only")),
    },
    limits=_limits,
    pre="deepseek-llm",
    model_type="deepseek_v2",
    mtp_layers=language_mtp_layers,
)
