"""DeepSeekMoE: `DeepseekForCausalLM` (deepseek-ai/deepseek-moe-16b-base and -chat, arXiv 2401.06066).

Plain attention that rotates halves, which the engine's `deepseek` rotates as neighbours; experts as DeepSeek-V2's.
llama.cpp: conversion/deepseek.py, DeepseekModel, and src/models/deepseek.cpp. Ollama's converter does not know it, but
its engine is llama.cpp's, so that both targets have the same file.
"""

import msgspec

from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import Value
from deepgguf.models import deepseek_ocr
from deepgguf.models.config_schema import JsonObject, check_built_in
from deepgguf.models.engine_limits import unread_limits
from deepgguf.models.family import Family, KeyFacts, TargetFile
from deepgguf.models.language_keys import gating_function, rope_keys, size_keys
from deepgguf.models.language_model import LanguageConfig, language_table, parse_language_config, text_drop_reason
from deepgguf.models.llamacpp import llamacpp_general, llamacpp_target
from deepgguf.models.tokenizer_keys import llamacpp_tokenizer_keys
from deepgguf.models.values import float32, present, string, uint32

_BUILT_IN: JsonObject = {"scoring_func": "softmax", "norm_topk_prob": False}  # deepseek.cpp, build_moe_ffn


def _parse(config: JsonObject, where: str) -> LanguageConfig:
    """Defaults are DeepSeek-OCR's, whose language model is the same."""
    check_built_in(config, _BUILT_IN, where)
    language = parse_language_config(config, deepseek_ocr.DEFAULTS, where)
    if language.use_mla or language.scaling:
        found = "use_mla is true" if language.use_mla else "rope_scaling is there"
        raise CheckpointError(where, f"{found}, expected neither", "the engine's deepseek has no such attention")
    return msgspec.structs.replace(language, rotates_halves=True)


def _keys(c: LanguageConfig, facts: KeyFacts) -> dict[str, Value]:
    """As llama.cpp's converter writes them: no scale of experts but 1, and no scaling of positions."""
    own = {
        **size_keys(c),
        **rope_keys(c),
        "vocab_size": uint32(c.vocab_size),
        "attention.head_count_kv": uint32(c.num_key_value_heads),
        "expert_gating_func": gating_function(c),
        "expert_weights_scale": float32(1.0),
        "rope.dimension_count": uint32(c.hidden_size // c.num_attention_heads),
        "rope.scaling.type": string("none"),
    }
    tokenizer = llamacpp_tokenizer_keys(facts.checkpoint.tokenizer, c.vocab_size)
    return llamacpp_general(facts, "model") | present(own, f"{facts.architecture}.") | tokenizer


_TARGET = llamacpp_target({"text": TargetFile("deepseek", _keys)})
FAMILY = Family(
    name="DeepseekForCausalLM",
    model_type="deepseek",
    parse=_parse,
    table=language_table,
    drop_reason=text_drop_reason,
    targets={"ollama": _TARGET, "llama.cpp": _TARGET},
    limits=lambda c: tuple(unread_limits(c)),
    pre="deepseek-llm",
)
