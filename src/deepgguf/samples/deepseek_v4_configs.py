"""The configurations of the samples of DeepSeek-V4: the release's, and the one that transformers saves."""

from typing import Any

JSON = dict[str, Any]

SEEDS = {"v4": 36, "v4-dspark": 1, "v4-base": 8, "v4-bf16": 1, "v4-hf": 1, "v4-vision": 1}
"""With these, no choice of experts or of the indexer is nearly a tie on the prompt of the tests."""

_WINDOW, _SPARSE, _HEAVY = 0, 4, 128

WITH_STAGES = ("v4-dspark", "v4-vision")
_STAGES = 3


def _ratios(first: int, layers: int) -> list[int]:
    return [first, first, *(_HEAVY if layer % 2 else _SPARSE for layer in range(2, layers))]


# DeepSeek-V4-Flash as published.
_FLASH: JSON = {
    "architectures": ["DeepseekV4ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "expert_dtype": "fp4",
    "hc_eps": 1e-06,
    "hc_mult": 4,
    "hc_sinkhorn_iters": 20,
    "head_dim": 512,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "index_head_dim": 128,
    "index_n_heads": 64,
    "index_topk": 512,
    "initializer_range": 0.02,
    "max_position_embeddings": 1048576,
    "model_type": "deepseek_v4",
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 64,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 43,
    "num_hash_layers": 3,
    "num_key_value_heads": 1,
    "num_nextn_predict_layers": 1,
    "o_groups": 8,
    "o_lora_rank": 1024,
    "q_lora_rank": 1024,
    "qk_rope_head_dim": 64,
    "quantization_config": {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "scale_fmt": "ue8m0",
        "weight_block_size": [128, 128],
    },
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 16,
        "original_max_position_embeddings": 65536,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 1.5,
    "scoring_func": "sqrtsoftplus",
    "sliding_window": 128,
    "swiglu_limit": 10.0,
    "tie_word_embeddings": False,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.57.1",
    "use_cache": True,
    "vocab_size": 129280,
    "compress_rope_theta": 160000,
    "compress_ratios": _ratios(_WINDOW, 43),
}

# What the other sizes change in it.
SIZES: dict[str, JSON] = {
    "sample": {
        "hidden_size": 256,
        "head_dim": 96,
        "index_head_dim": 64,
        "index_n_heads": 4,
        "index_topk": 1,
        "moe_intermediate_size": 64,
        "n_routed_experts": 6,
        "num_attention_heads": 6,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 5,
        "o_groups": 2,
        "o_lora_rank": 128,
        "q_lora_rank": 128,
        "qk_rope_head_dim": 16,
        "sliding_window": 8,
        "swiglu_limit": 0.5,
        "vocab_size": 544,
        "compress_ratios": _ratios(_WINDOW, 5),
    },
    "bench": {
        "hidden_size": 2048,
        "moe_intermediate_size": 1024,
        "n_routed_experts": 64,
        "num_attention_heads": 16,
        "num_hidden_layers": 9,
        "num_nextn_predict_layers": 0,
        "o_groups": 4,
        "o_lora_rank": 512,
        "q_lora_rank": 512,
        "compress_ratios": _ratios(_WINDOW, 9),
    },
    "flash": {},
    "pro": {
        "hidden_size": 7168,
        "index_topk": 1024,
        "moe_intermediate_size": 3072,
        "n_routed_experts": 384,
        "num_attention_heads": 128,
        "num_hidden_layers": 61,
        "o_groups": 16,
        "q_lora_rank": 1536,
        "routed_scaling_factor": 2.5,
        "compress_ratios": _ratios(_HEAVY, 61),
    },
    "full": {},
}
_FEWER: JSON = {
    "num_hidden_layers": 3,
    "num_hash_layers": 1,
    "n_routed_experts": 4,
    "o_lora_rank": 64,
    "compress_ratios": [_WINDOW, _SPARSE, _HEAVY],
}
_MARKOV_RANKS = {"sample": 64, "pro": 512}
_LARGE_MASK, _SMALL_MASK = 128799, 2

# What DeepSeek-V4-Flash-Vision-Exp adds.
_VISION: JSON = {
    "rms_norm_eps": 1e-20,
    "vision_n_layers": 32,
    "vision_dim": 1024,
    "vision_n_heads": 16,
    "vision_inter_dim": 2816,
    "vision_patch_size": 14,
    "vision_rope_theta": 10000.0,
    "vision_downsample_ratio": 3,
    "vision_max_n_token": 384,
    "vision_min_pixels": 147456,
    "vision_max_wh_ratio": 8,
}
_LITTLE_VISION: JSON = {"vision_n_layers": 3, "vision_dim": 64, "vision_n_heads": 2, "vision_inter_dim": 96}

GENERATION: JSON = {
    "_from_model_config": True,
    "bos_token_id": 0,
    "do_sample": True,
    "eos_token_id": 1,
    "temperature": 1.0,
    "top_p": 1.0,
    "transformers_version": "4.46.3",
}


def v4_config(kind: str, size: str, changes: JSON | None = None) -> JSON:
    """The content of config.json; `changes` replace fields of it."""
    content = _FLASH | SIZES[size] | (_FEWER if size == "sample" and kind != "v4" else {})
    layers = content["num_hidden_layers"]
    if kind in WITH_STAGES:
        content |= {
            "dspark_block_size": 5,
            "dspark_noise_token_id": _SMALL_MASK if size == "sample" else _LARGE_MASK,
            "dspark_target_layer_ids": list(range(layers - _STAGES, layers)),
            "dspark_markov_rank": _MARKOV_RANKS.get(size, 256),
        }
    if kind == "v4-vision":
        content |= _VISION | (_LITTLE_VISION if size == "sample" else {})
    content |= changes or {}
    if len(content["compress_ratios"]) == content["num_hidden_layers"]:
        more = _STAGES if kind in WITH_STAGES else content["num_nextn_predict_layers"]
        content["compress_ratios"] = content["compress_ratios"] + [_WINDOW] * more
    if kind == "v4-base":
        content["expert_dtype"] = "fp8"
    if kind == "v4-bf16":
        del content["quantization_config"], content["expert_dtype"]
    return _saved_config(content) if kind == "v4-hf" else content


_NOT_SAVED = (
    "compress_ratios", "num_hash_layers", "rope_scaling", "torch_dtype", "transformers_version", "expert_dtype",
    "quantization_config",
)  # fmt: skip


def _saved_config(c: JSON) -> JSON:
    """As save_pretrained of transformers 5.24 writes it."""
    layers, hashed, part = c["num_hidden_layers"], c["num_hash_layers"], c["qk_rope_head_dim"] / c["head_dim"]
    kinds = {
        _WINDOW: "sliding_attention",
        _SPARSE: "compressed_sparse_attention",
        _HEAVY: "heavily_compressed_attention",
    }
    theta, compress = float(c["rope_theta"]), float(c["compress_rope_theta"])
    yarn = {**c["rope_scaling"], "attention_factor": 1.0, "rope_type": "yarn"}
    yarn |= {"partial_rotary_factor": part, "rope_theta": compress}
    main = {"partial_rotary_factor": part, "rope_theta": theta, "rope_type": "default"}
    saved = {key: value for key, value in c.items() if key not in _NOT_SAVED} | {
        "compress_rates": {kinds[ratio]: ratio for ratio in (_SPARSE, _HEAVY)},
        "dtype": "bfloat16",
        "layer_types": [kinds[ratio] for ratio in c["compress_ratios"][:layers]],
        "mlp_bias": False,
        "mlp_layer_types": ["hash_moe"] * hashed + ["moe"] * (layers - hashed),
        "output_router_logits": False,
        "pad_token_id": None,
        "partial_rotary_factor": part,
        "rope_parameters": {"compress": dict(sorted(yarn.items())), "main": main},
        "rope_theta": theta,
        "compress_rope_theta": compress,
        "router_aux_loss_coef": 0.001,
        "router_jitter_noise": 0.0,
        "transformers_version": "5.24.0",
    }
    return dict(sorted(saved.items()))
