"""The configurations of the samples: the JSON of config.json and its companions, the keys in the files' order."""

import copy
import json
from typing import Any

from deepgguf.errors import UsageError
from deepgguf.samples.deepseek_v4_configs import GENERATION as V4_GENERATION
from deepgguf.samples.deepseek_v4_configs import SEEDS as V4_SEEDS
from deepgguf.samples.deepseek_v4_configs import SIZES as V4_SIZES
from deepgguf.samples.deepseek_v4_configs import v4_config
from deepgguf.samples.kimi_configs import KINDS as KIMI_KINDS
from deepgguf.samples.kimi_configs import kimi_config, kimi_files
from deepgguf.samples.ocr_family_configs import KINDS as OCR_KINDS
from deepgguf.samples.ocr_family_configs import PROCESSOR as OCR_PROCESSOR
from deepgguf.samples.ocr_family_configs import ocr_config, ocr_files

JSON = dict[str, Any]

KINDS = (
    "v3",
    "v3-fp8",
    "v3-tied",
    "v2-lite",
    "deepseek-moe",
    "ocr",
    "v32",
    "v32-bf16",
    *V4_SEEDS,
    *OCR_KINDS,
    *KIMI_KINDS,
)
SIZES = ("sample", "bench", "full", "flash", "pro")

GENERATION_CONFIG: JSON = {"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 1}
_SAMPLING_CONFIG: JSON = {
    "_from_model_config": True,
    "bos_token_id": 0,
    "do_sample": True,
    "eos_token_id": 1,
    "temperature": 1.0,
    "top_p": 0.95,
    "transformers_version": "4.44.2",
}

_YARN: JSON = {
    "beta_fast": 32,
    "beta_slow": 1,
    "factor": 40,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096,
    "type": "yarn",
}

# DeepSeek-V3 as published.
_V3_FULL: JSON = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 3,
    "hidden_act": "silu",
    "hidden_size": 7168,
    "initializer_range": 0.02,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06,
    "rope_scaling": _YARN,
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "tie_word_embeddings": False,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "v_head_dim": 128,
    "vocab_size": 129280,
}

# What the smaller sizes change in it.
_V3_SIZES: dict[str, JSON] = {
    "sample": {
        "first_k_dense_replace": 1,
        "hidden_size": 256,
        "intermediate_size": 512,
        "kv_lora_rank": 64,
        "moe_intermediate_size": 256,
        "n_group": 3,
        "n_routed_experts": 6,
        "num_attention_heads": 4,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "q_lora_rank": 128,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "topk_group": 1,
        "v_head_dim": 32,
        "vocab_size": 544,
    },
    "bench": {
        "first_k_dense_replace": 1,
        "hidden_size": 2048,
        "intermediate_size": 4096,
        "moe_intermediate_size": 1024,
        "n_routed_experts": 48,
        "num_attention_heads": 16,
        "num_hidden_layers": 6,
        "num_key_value_heads": 16,
        "num_nextn_predict_layers": 0,
    },
    "full": {},
}

# What a kind changes in it, at every size.
_V3_KINDS: dict[str, JSON] = {
    "v3": {},
    "v3-fp8": {
        "quantization_config": {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        }
    },
    "v3-tied": {
        "tie_word_embeddings": True,
        "n_routed_experts": 8,
        "n_group": 4,
        "topk_group": 2,
        "moe_intermediate_size": 128,
        "num_nextn_predict_layers": 0,
    },
}

# 27 layers, by which llama.cpp tells V2-Lite.
_V2_LITE_CHANGES: JSON = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": False,
    "q_lora_rank": None,
    "rope_scaling": _YARN | {"mscale": 0.707, "mscale_all_dim": 0.707},
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "topk_method": "greedy",
    "first_k_dense_replace": 1,
    "hidden_size": 256,
    "intermediate_size": 512,
    "kv_lora_rank": 64,
    "moe_intermediate_size": 32,
    "n_routed_experts": 3,
    "n_shared_experts": 2,
    "num_attention_heads": 2,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 27,
    "num_key_value_heads": 2,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "vocab_size": 544,
}
# deepseek-moe-16b as published, but for its sizes.
_DEEPSEEK_MOE: JSON = {
    "architectures": ["DeepseekForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "aux_loss_alpha": 0.001,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initializer_range": 0.02,
    "intermediate_size": 256,
    "max_position_embeddings": 4096,
    "model_type": "deepseek",
    "moe_intermediate_size": 32,
    "moe_layer_freq": 1,
    "n_routed_experts": 12,
    "n_shared_experts": 2,
    "norm_topk_prob": False,
    "num_attention_heads": 4,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000,
    "scoring_func": "softmax",
    "seq_aux": True,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 544,
}
_V2_LITE: JSON = {
    key: value for key, value in (_V3_FULL | _V2_LITE_CHANGES).items() if key != "num_nextn_predict_layers"
}

# DeepSeek-V3.2 as published: V3 with an indexer.
_V32_CHANGES: JSON = {
    "architectures": ["DeepseekV32ForCausalLM"],
    "model_type": "deepseek_v32",
    "index_head_dim": 128,
    "index_n_heads": 64,
    "index_topk": 2048,
    "transformers_version": "4.44.2",
}
_V32_SIZES: dict[str, JSON] = {
    "sample": _V3_SIZES["sample"]
    | {
        "index_head_dim": 64,
        "index_n_heads": 4,
        "index_topk": 4,
        "intermediate_size": 384,
        "moe_intermediate_size": 64,
    },
    "full": {},
}
_V32_KINDS: dict[str, JSON] = {
    "v32": {
        "quantization_config": {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "scale_fmt": "ue8m0",
            "weight_block_size": [128, 128],
        }
    },
    "v32-bf16": {},
}

_OCR: JSON = {
    "_name_or_path": "deepseek-ai/DeepSeek-OCR",
    "architectures": ["DeepseekOCRForCausalLM"],
    "bos_token_id": 0,
    "candidate_resolutions": [[1024, 1024]],
    "eos_token_id": 1,
    "global_view_pos": "head",
    "language_config": {
        "architectures": ["DeepseekV2ForCausalLM"],
        "bos_token_id": 0,
        "eos_token_id": 1,
        "first_k_dense_replace": 1,
        "hidden_size": 256,
        "intermediate_size": 512,
        "kv_lora_rank": None,
        "lm_head": True,
        "max_position_embeddings": 8192,
        "moe_intermediate_size": 64,
        "n_group": 1,
        "n_routed_experts": 12,
        "n_shared_experts": 2,
        "num_attention_heads": 4,
        "num_experts_per_tok": 3,
        "num_hidden_layers": 3,
        "num_key_value_heads": 4,
        "q_lora_rank": None,
        "qk_nope_head_dim": 0,
        "qk_rope_head_dim": 0,
        "rm_head": False,
        "topk_group": 1,
        "topk_method": "greedy",
        "torch_dtype": "bfloat16",
        "use_mla": False,
        "v_head_dim": 0,
        "vocab_size": 544,
    },
    "model_type": "deepseek_vl_v2",
    "tile_tag": "2D",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3",
    "projector_config": {
        "input_dim": 128,
        "model_type": "mlp_projector",
        "n_embed": 256,
        "projector_type": "linear",
    },
    "vision_config": {
        "image_size": 1024,
        "mlp_ratio": 3.7362,
        "model_name": "deeplip_b_l",
        "model_type": "vision",
        "width": {
            "clip-l-14-224": {"heads": 4, "image_size": 224, "layers": 12, "patch_size": 14, "width": 64},
            "sam_vit_b": {
                "downsample_channels": [32, 64],
                "global_attn_indexes": [2, 5, 8, 11],
                "heads": 4,
                "layers": 12,
                "width": 96,
            },
        },
    },
    "vocab_size": 544,
}

_GENERATION = dict.fromkeys(_V32_KINDS, _SAMPLING_CONFIG) | dict.fromkeys(V4_SEEDS, V4_GENERATION)

# The kinds that exist in several sizes, each with what every size changes.
_SIZES: dict[str, dict[str, JSON]] = dict.fromkeys(_V3_KINDS, _V3_SIZES) | dict.fromkeys(_V32_KINDS, _V32_SIZES)
_SIZES |= dict.fromkeys(V4_SEEDS, V4_SIZES)


def config(kind: str, size: str, tokens: int = 0) -> JSON:
    """The content of config.json, the caller's own, with a vocabulary for at least so many tokens.

    UsageError: a kind or size that does not exist, or a size other than `sample` for the kinds that have only this one.
    """
    if kind not in KINDS:
        raise UsageError(kind, "no such kind of sample", f"choose one of {', '.join(KINDS)}")
    if size not in SIZES:
        raise UsageError(size, "no such size of sample", f"choose one of {', '.join(SIZES)}")
    if size != "sample" and size not in _SIZES.get(kind, {}):
        sizes, others = _SIZES.get(kind, {"sample": {}}), [kind for kind in _SIZES if size in _SIZES[kind]]
        found = f"exists in the size {' or '.join(map(repr, sizes))} only, not {size!r}"
        raise UsageError(kind, found, f"choose {', '.join(others)}")
    content = copy.deepcopy(_content(kind, size))
    for section in (content, content.get("language_config", {}), content.get("text_config", {})):
        section.update({key: max(size, tokens) for key, size in section.items() if key == "vocab_size"})
    return content


def _content(kind: str, size: str) -> JSON:
    if kind in _V3_KINDS:
        return _V3_FULL | _V3_SIZES[size] | _V3_KINDS[kind]
    if kind in _V32_KINDS:
        changed = _V3_FULL | _V32_CHANGES | _V32_SIZES[size] | _V32_KINDS[kind]
        return dict(sorted(changed.items()))
    if kind in V4_SEEDS:
        return v4_config(kind, size)
    if kind in OCR_KINDS:
        return ocr_config(kind)
    if kind in KIMI_KINDS:
        return kimi_config(kind)
    return {"ocr": _OCR, "deepseek-moe": _DEEPSEEK_MOE}.get(kind, _V2_LITE)


def companions(kind: str, content: JSON) -> dict[str, str]:
    """The text of the JSON files of a checkpoint whose config.json is `content`, without index and tokenizer."""
    if kind in OCR_KINDS:
        return ocr_files(kind, content)
    if kind in KIMI_KINDS:
        return kimi_files(kind, content)
    files = {"config.json": content, "generation_config.json": _GENERATION.get(kind, GENERATION_CONFIG)}
    if kind == "ocr":
        files["processor_config.json"] = OCR_PROCESSOR
    return {name: json.dumps(file, ensure_ascii=False, indent=1) for name, file in files.items()}
