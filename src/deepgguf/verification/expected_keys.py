"""What a file's keys must be, computed from config.json itself, apart from the code that writes them.

llama.cpp: conversion/deepseek.py and what deepseek2.cpp, clip.cpp read. Ollama: convert/convert_deepseek2.go,
convert_deepseekocr.go, with deepgguf's documented corrections.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.tokenizer import Tokenizer
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import Value, ValueType

Config = Mapping[str, Any]
Keys = dict[str, Value]

# What the classes of Hugging Face's configuration_deepseek.py give a field that config.json leaves out.
_V2: Config = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "scoring_func": "softmax",
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
    "n_group": None,
    "topk_group": None,
    "q_lora_rank": None,
}
_V3: Config = {
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "n_group": 8,
    "topk_group": 4,
    "q_lora_rank": 1536,
}
_OCR: Config = {**_V2, "qk_rope_head_dim": 0}
_GATING = {"softmax": 1, "sigmoid": 2}
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # llama.h, enum llama_token_type


class Facts(msgspec.Struct, frozen=True):
    """What decides keys beside the checkpoint: the file's architecture and target, names of tensors made from FP8."""

    architecture: str
    ollama: bool
    from_fp8: tuple[str, ...]


def expected_keys(facts: Facts, checkpoint: Checkpoint) -> Keys:
    """Every key of the file whose value follows from the checkpoint, but for general.file_type."""
    config = checkpoint.config
    own: Config
    match facts.architecture, facts.ollama:
        case "deepseek2", _:
            c = {**(_V3 if "DeepseekV3ForCausalLM" in config["architectures"] else _V2), **config}  # type: ignore[operator]
            own = {**_sizes(c), **_groups(c), **_rope(c), **_mixture(c)}
            own |= {**_ollama_mla(c), **_fp8(facts.from_fp8)} if facts.ollama else _llamacpp_mla(c)
        case "deepseek2-ocr", _:
            c = {**_OCR, **_object(config, "language_config")}
            own = {**_sizes(c), **_groups(c), "attention.head_count_kv": _u32(c["num_key_value_heads"])}
            own |= {"vocab_size": _u32(c["vocab_size"]), "rope.dimension_count": _u32(c["qk_rope_head_dim"])}
        case "deepseekocr", _:
            c = {**_OCR, **_object(config, "language_config")}
            own = {**_sizes(c), "attention.head_count_kv": _u32(c["num_key_value_heads"])}
            own |= {"vocab_size": _u32(c["vocab_size"]), **_ollama_vision(_object(config, "vision_config"))}
        case _:
            return _general(facts) | _named("clip.", _mmproj(config, checkpoint.processor))
    keys = _general(facts) | _named(f"{facts.architecture}.", own)
    return keys | _tokenizer(checkpoint.tokenizer, c["vocab_size"], ollama=facts.ollama)


def _u32(value: int | None) -> Value | None:
    return None if value is None else Value(ValueType.UINT32, value)


def _f32(value: float | None) -> Value | None:
    return None if value is None else Value(ValueType.FLOAT32, value)


def _flag(value: bool | None) -> Value | None:
    return None if value is None else Value(ValueType.BOOL, value)


def _text(value: str | None) -> Value | None:
    return None if value is None else Value(ValueType.STRING, value)


def _list(type: ValueType, values: list[Any]) -> Value:
    return Value(ValueType.ARRAY, values, type)


def _named(prefix: str, keys: Config) -> Keys:
    return {prefix + name: value for name, value in keys.items() if value is not None}


def _object(config: Config, *names: str) -> Config:
    for name in names:
        config = config[name]
    return config


def _general(facts: Facts) -> Keys:
    kind = {"clip": "mmproj", "deepseekocr": None}.get(facts.architecture, "model")
    own = {"architecture": _text(facts.architecture), "type": _text(kind), "quantization_version": _u32(2)}
    return _named("general.", own)


def _sizes(c: Config) -> Config:
    return {
        "block_count": _u32(c["num_hidden_layers"]),
        "context_length": _u32(c["max_position_embeddings"]),
        "embedding_length": _u32(c["hidden_size"]),
        "feed_forward_length": _u32(c["intermediate_size"]),
        "leading_dense_block_count": _u32(c["first_k_dense_replace"]),
        "attention.head_count": _u32(c["num_attention_heads"]),
        "attention.layer_norm_rms_epsilon": _f32(c["rms_norm_eps"]),
        "expert_count": _u32(c["n_routed_experts"]),
        "expert_used_count": _u32(c["num_experts_per_tok"]),
        "expert_feed_forward_length": _u32(c["moe_intermediate_size"]),
        "expert_shared_count": _u32(c["n_shared_experts"]),
    }


def _groups(c: Config) -> Config:
    return {"expert_group_count": _u32(c["n_group"]), "expert_group_used_count": _u32(c["topk_group"])}


def _rope_scaling(c: Config) -> Config:
    """`rope_parameters` (transformers 5) or `rope_scaling` (4); empty where positions are not scaled."""
    scaling = c.get("rope_parameters") or c.get("rope_scaling") or {}
    return scaling if scaling.get("rope_type", scaling.get("type")) == "yarn" else {}


def _rope(c: Config) -> Config:
    theta = (c.get("rope_parameters") or c.get("rope_scaling") or {}).get("rope_theta", c["rope_theta"])
    keys = {"rope.dimension_count": _u32(c["qk_rope_head_dim"]), "rope.freq_base": _f32(theta)}
    yarn = _rope_scaling(c)
    if not yarn:
        return keys
    all_dimensions = yarn.get("mscale_all_dim")
    return keys | {
        "rope.scaling.type": _text("yarn"),
        "rope.scaling.factor": _f32(yarn["factor"]),
        "rope.scaling.original_context_length": _u32(yarn["original_max_position_embeddings"]),
        "rope.scaling.yarn_log_multiplier": _f32(None if all_dimensions is None else 0.1 * all_dimensions),
    }


def _mixture(c: Config) -> Config:
    scoring = c["scoring_func"]
    return {
        "expert_gating_func": _u32(_GATING[scoring] if scoring else None),
        "expert_weights_scale": _f32(c["routed_scaling_factor"]),
        "attention.kv_lora_rank": _u32(c["kv_lora_rank"]),
        "attention.q_lora_rank": _u32(c["q_lora_rank"]),
    }


def _ollama_mla(c: Config) -> Config:
    return {
        "attention.head_count_kv": _u32(c["num_key_value_heads"]),
        "attention.key_length": _u32(c["qk_nope_head_dim"] + c["qk_rope_head_dim"]),
        "attention.value_length": _u32(c["v_head_dim"]),
        "expert_weights_norm": _flag(c["norm_topk_prob"]),
    }


def _fp8(names: tuple[str, ...]) -> Config:
    if not names:
        return {}
    return {
        "source_quantization": _text("hf_fp8"),
        "source_fp8_tensors": _list(ValueType.STRING, sorted(names)),
    }


def _llamacpp_mla(c: Config) -> Config:
    """One KV head of the latent's rank and the rope dimensions; the norm is written only where it is true."""
    yarn = _rope_scaling(c)
    return {
        "vocab_size": _u32(c["vocab_size"]),
        "attention.head_count_kv": _u32(1),
        "attention.key_length": _u32(c["kv_lora_rank"] + c["qk_rope_head_dim"]),
        "attention.value_length": _u32(c["kv_lora_rank"]),
        "attention.key_length_mla": _u32(c["qk_nope_head_dim"] + c["qk_rope_head_dim"]),
        "attention.value_length_mla": _u32(c["v_head_dim"]),
        "expert_weights_norm": _flag(True if c["norm_topk_prob"] else None),
        "rope.scaling.yarn_beta_fast": _f32(yarn.get("beta_fast", 32.0)) if yarn else None,
        "rope.scaling.yarn_beta_slow": _f32(yarn.get("beta_slow", 1.0)) if yarn else None,
    }


def _ollama_vision(vision: Config) -> Config:
    clip, sam = vision["width"]["clip-l-14-224"], vision["width"]["sam_vit_b"]
    return {
        "vision.block_count": _u32(clip["layers"]),
        "vision.embedding_length": _u32(clip["width"]),
        "vision.head_count": _u32(clip["heads"]),
        "vision.image_size": _u32(clip["image_size"]),
        "vision.patch_size": _u32(clip["patch_size"]),
        "sam.block_count": _u32(sam["layers"]),
        "sam.embedding_length": _u32(sam["width"]),
        "sam.head_count": _u32(sam["heads"]),
        "sam.global_attention_indexes": _list(ValueType.INT32, list(sam["global_attn_indexes"])),
    }


def _mmproj(config: Config, processor: Config) -> Config:
    """What clip.cpp reads; feed_forward_length is 4 × heads, as llama.cpp's converter has it."""
    width = _object(config, "vision_config", "width")
    clip, sam = width["clip-l-14-224"], width["sam_vit_b"]
    return {
        "has_vision_encoder": _flag(True),
        "projector_type": _text("deepseekocr"),
        "use_gelu": _flag(True),
        "vision.projection_dim": _u32(_object(config, "language_config")["hidden_size"]),
        "vision.image_size": _u32(clip["image_size"]),
        "vision.patch_size": _u32(clip["patch_size"]),
        "vision.embedding_length": _u32(clip["width"]),
        "vision.feed_forward_length": _u32(4 * clip["heads"]),
        "vision.block_count": _u32(clip["layers"]),
        "vision.attention.head_count": _u32(clip["heads"]),
        "vision.attention.layer_norm_epsilon": _f32(1e-6),
        "vision.image_mean": _channels(processor, "image_mean"),
        "vision.image_std": _channels(processor, "image_std"),
        "vision.projector.scale_factor": _u32(1),
        "vision.window_size": _u32(14),
        "vision.preproc_min_tiles": _u32(2),
        "vision.preproc_max_tiles": _u32(9),
        "vision.sam.block_count": _u32(sam["layers"]),
        "vision.sam.embedding_length": _u32(sam["width"]),
        "vision.sam.head_count": _u32(sam["heads"]),
    }


def _channels(processor: Config, name: str) -> Value:
    """One number per colour; halves where the processor's config has none."""
    values = processor.get(name, [0.5, 0.5, 0.5])
    if not isinstance(values, list):
        raise CheckpointError("processor_config.json", f"{name} is {values!r}, expected three numbers")
    return _list(ValueType.FLOAT32, values)


def _tokenizer(tokenizer: Tokenizer, size: int, *, ollama: bool) -> Keys:
    known = len(tokenizer.tokens)
    padding = [f"[PAD{i - known if ollama else i}]" for i in range(known, size)]
    types = [_token_type(tokenizer, i, ollama=ollama) for i in range(known)]
    types += [_USER_DEFINED if ollama else _UNUSED] * len(padding)
    own: dict[str, Value | None] = {
        "model": _text("gpt2"),
        "pre": _text(tokenizer.pre),
        "tokens": _list(ValueType.STRING, [*tokenizer.tokens, *padding]),
        "token_type": _list(ValueType.INT32, types),
        "merges": _list(ValueType.STRING, list(tokenizer.merges)),
        "add_bos_token": _flag(tokenizer.add_bos),
        "add_eos_token": _flag(tokenizer.add_eos),
        **{f"{name}_token_id": _u32(id) for name, id in tokenizer.special_ids.items()},
        **{f"{name}_token_ids": _list(ValueType.INT32, list(i)) for name, i in tokenizer.special_id_lists.items()},
    }
    if ollama:
        own["scores"] = _list(ValueType.FLOAT32, [float(i) for i in range(known)] + [-1.0] * len(padding))
    return _named("tokenizer.ggml.", own) | _named("tokenizer.", {"chat_template": _text(tokenizer.chat_template)})


def _token_type(tokenizer: Tokenizer, id: int, *, ollama: bool) -> int:
    if id not in tokenizer.added:
        return _NORMAL
    text = tokenizer.tokens[id]
    looks_special = text.startswith(("<|", "<｜")) and text.endswith(("|>", "｜>"))
    return _CONTROL if tokenizer.added[id] or (looks_special and not ollama) else _USER_DEFINED
