"""The JSON files of the samples of the Kimi-K2 family, the keys in the files' order."""

import json
from typing import Any

JSON = dict[str, Any]

KINDS = ("kimi-k2", "kimi-k2-thinking", "kimi-k25", "moonlight")

RANKS = 512  # of the samples' tiktoken.model
_ADDED = 256

_YARN: JSON = {
    "beta_fast": 1.0,
    "beta_slow": 1.0,
    "factor": 32.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 4096,
    "type": "yarn",
}
_K2: JSON = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_deepseek.DeepseekV3Config",
        "AutoModel": "modeling_deepseek.DeepseekV3Model",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV3ForCausalLM",
    },
    "aux_loss_alpha": 0.001,
    "bos_token_id": RANKS,
    "eos_token_id": RANKS + 2,
    "ep_size": 1,
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "kv_lora_rank": 64,
    "max_position_embeddings": 131072,
    "model_type": "kimi_k2",
    "moe_intermediate_size": 128,
    "moe_layer_freq": 1,
    "n_group": 1,
    "n_routed_experts": 12,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts_per_tok": 3,
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "num_nextn_predict_layers": 0,
    "pretraining_tp": 1,
    "q_lora_rank": 128,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "rms_norm_eps": 1e-06,
    "rope_scaling": _YARN,
    "rope_theta": 50000.0,
    "routed_scaling_factor": 2.827,
    "scoring_func": "sigmoid",
    "seq_aux": True,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.48.3",
    "use_cache": True,
    "v_head_dim": 32,
    "vocab_size": RANKS + _ADDED,
}
_FP8: JSON = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [128, 128],
}
_MOONLIGHT: JSON = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "max_position_embeddings": 8192,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 32,
    "n_routed_experts": 6,
    "n_shared_experts": 2,
    "num_attention_heads": 2,
    "num_hidden_layers": 27,
    "num_key_value_heads": 2,
    "q_lora_rank": None,
    "rms_norm_eps": 1e-05,
    "routed_scaling_factor": 2.446,
    "transformers_version": "4.46.3",
}
_INT4: JSON = {
    "config_groups": {
        "group_0": {
            "input_activations": None,
            "output_activations": None,
            "targets": ["Linear"],
            "weights": {
                "actorder": None,
                "block_structure": None,
                "dynamic": False,
                "group_size": 32,
                "num_bits": 4,
                "observer": "minmax",
                "observer_kwargs": {},
                "strategy": "group",
                "symmetric": True,
                "type": "int",
            },
        }
    },
    "format": "pack-quantized",
    "ignore": [
        "lm_head",
        "re:.*self_attn.*",
        "re:.*shared_experts.*",
        r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
    ],
    "kv_cache_scheme": None,
    "quant_method": "compressed-tensors",
    "quantization_status": "compressed",
}
_THINKING: JSON = {
    "max_position_embeddings": 262144,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {**_YARN, "factor": 64.0},
    "transformers_version": "4.57.1",
    "pad_token_id": RANKS + 255,
    "dtype": "bfloat16",
    "quantization_config": _INT4,
}
_K25_CODE = "modeling_kimi_k25.KimiK25ForConditionalGeneration"
_VISION: JSON = {
    "init_pos_emb_height": 16,
    "init_pos_emb_time": 4,
    "init_pos_emb_width": 16,
    "merge_kernel_size": [2, 2],
    "merge_type": "sd2_tpool",
    "mm_hidden_size": 64,
    "mm_projector_type": "patchmerger",
    "model_type": "",
    "patch_size": 14,
    "pos_emb_type": "divided_fixed",
    "projector_hidden_act": "gelu",
    "projector_ln_eps": 1e-05,
    "text_hidden_size": 256,
    "video_attn_type": "spatial_temporal",
    "vt_hidden_size": 64,
    "vt_intermediate_size": 96,
    "vt_num_attention_heads": 16,
    "vt_num_hidden_layers": 3,
}
_PREPROCESSOR: JSON = {
    "auto_map": {
        "AutoImageProcessor": "kimi_k25_vision_processing.KimiK25VisionProcessor",
        "AutoProcessor": "kimi_k25_processor.KimiK25Processor",
    },
    "media_proc_cfg": {
        "in_patch_limit": 16384,
        "patch_size": 14,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "merge_kernel_size": 2,
        "fixed_output_tokens": None,
        "patch_limit_on_one_side": 512,
        "in_patch_limit_each_frame": 4096,
        "in_patch_limit_video": None,
        "sample_fps": 2.0,
        "max_num_frames_each_video": None,
        "temporal_merge_kernel_size": 4,
        "timestamp_mode": "hh:mm:ss.fff",
        "config_type": "media_proc.processors.moonvit.MoonViTMediaProcessorConfig",
    },
}


def kimi_config(kind: str) -> JSON:
    """The content of config.json."""
    if kind == "kimi-k2":
        return _K2 | {"quantization_config": _FP8}
    if kind == "moonlight":
        return {key: value for key, value in (_K2 | _MOONLIGHT).items() if key != "rope_scaling"}
    thinking = {key: value for key, value in (_K2 | _THINKING).items() if key != "torch_dtype"}
    return thinking if kind == "kimi-k2-thinking" else _k25(thinking)


def _k25(thinking: JSON) -> JSON:
    text = thinking | {"rope_scaling": {**_YARN, "factor": 64.0, "beta_fast": 32.0}, "eos_token_id": RANKS + 1}
    return {
        "architectures": ["KimiK25ForConditionalGeneration"],
        "auto_map": {
            "AutoConfig": "configuration_kimi_k25.KimiK25Config",
            "AutoModel": _K25_CODE,
            "AutoModelForCausalLM": _K25_CODE,
        },
        "bos_token_id": RANKS,
        "dtype": "bfloat16",
        "eos_token_id": RANKS + 1,
        "ignore_index": -100,
        "media_placeholder_token_id": RANKS + 21,
        "model_type": "kimi_k25",
        "pad_token_id": RANKS + 255,
        "text_config": text,
        "tie_word_embeddings": False,
        "use_unified_vision_chunk": True,
        "video_placeholder": "<|kimi_k25_video_placeholder|>",
        "vision_config": _VISION,
    }


# By their places after the ranks.
_NAMED = {
    0: "[BOS]",
    1: "[EOS]",
    2: "<|im_end|>",
    3: "<|im_user|>",
    4: "<|im_assistant|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: "[EOT]",
    10: "<|im_system|>",
    11: "<|tool_calls_section_begin|>",
    12: "<|tool_calls_section_end|>",
    13: "<|tool_call_begin|>",
    14: "<|tool_call_argument_begin|>",
    15: "<|tool_call_end|>",
    17: "<|im_middle|>",
    18: "<|media_begin|>",
    19: "<|media_content|>",
    20: "<|media_end|>",
    21: "<|media_pad|>",
    22: "<think>",
    23: "</think>",
    254: "[UNK]",
    255: "[PAD]",
}
_NOT_SPECIAL = {11, 12, 13, 14, 15, 22, 23}
_LACKING = {"kimi-k2": {22, 23}, "moonlight": {*range(11, 16), *range(18, 24)}}
_ADDITIONAL = (2, 3, 4, 6, 7, 9, 10, 17)

_TEMPLATE = (
    "{%- for message in messages -%}{%- if message['role'] == 'user' -%}<|im_user|>user<|im_middle|>"
    "{%- elif message['role'] == 'assistant' -%}<|im_assistant|>assistant<|im_middle|>"
    "{%- else -%}<|im_system|>{{ message['role'] }}<|im_middle|>{%- endif -%}{{ message['content'] }}<|im_end|>"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>{%- endif -%}"
)
# In place of the code that transformers would run: whoever runs it learns of it.
_CODE = '''"""The checkpoint's own tokenizer code would stand here. A converter must never run it."""
raise SystemExit("tokenization_kimi.py was executed: a converter must read tiktoken.model and tokenizer_config.json only")
'''  # noqa: E501


def kimi_files(kind: str, content: JSON) -> dict[str, str]:
    """The text of every file but the shards, their index and tiktoken.model, of a config.json with this content."""
    text = content.get("text_config", content)
    longest = text["max_position_embeddings"]
    files = {"config.json": content, "generation_config.json": {"max_length": longest, "eos_token_id": RANKS + 2}}
    if kind == "kimi-k25":
        files["preprocessor_config.json"] = _PREPROCESSOR
    return {name: json.dumps(file, ensure_ascii=False, indent=2) for name, file in files.items()}


def tokenizer_files(kind: str) -> dict[str, str]:
    """The text of the files beside tiktoken.model."""
    module = "tokenization_moonshot" if kind == "moonlight" else "tokenization_kimi"
    config = {
        "added_tokens_decoder": {
            str(RANKS + place): {
                "content": content,
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": place not in _NOT_SPECIAL,
            }
            for place, content in _NAMED.items()
            if place not in _LACKING.get(kind, ())
        },
        "additional_special_tokens": [_NAMED[place] for place in _ADDITIONAL],
        "auto_map": {"AutoTokenizer": [f"{module}.TikTokenTokenizer", None]},
        "bos_token": "[BOS]",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>" if kind == "kimi-k2" else "[EOS]",
        "extra_special_tokens": {},
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": "[PAD]",
        "tokenizer_class": "TikTokenTokenizer",
        "unk_token": "[UNK]",
    }
    own = {} if kind in ("kimi-k2", "moonlight") else {"chat_template.jinja": _TEMPLATE}
    config |= {} if own else {"chat_template": _TEMPLATE}
    return {"tokenizer_config.json": json.dumps(config, ensure_ascii=False, indent=2), f"{module}.py": _CODE, **own}
