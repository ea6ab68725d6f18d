"""The JSON files of the samples of DeepSeek-OCR-2 and Unlimited-OCR, the keys in the files' order."""

import json
from typing import Any

JSON = dict[str, Any]

KINDS = (
    "ocr2",
    "unlimited-ocr",
    "ocr2-resaved",
    "unlimited-ocr-resaved",
    "ocr2-hf",
    "unlimited-ocr-hf",
)
"""Released, and what transformers 5.24 writes of it: with save_original_format (resaved) and without (hf)."""

MLP = 96  # the width of the encoder's MLPs in ocr2, which the release's config.json does not say

_SIZES: JSON = {
    "bos_token_id": 0,
    "eos_token_id": 1,
    "first_k_dense_replace": 1,
    "hidden_size": 128,
    "intermediate_size": 256,
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
}
_LANGUAGE: JSON = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_deepseekv2.DeepseekV2Config",
        "AutoModel": "modeling_deepseek.DeepseekV2Model",
        "AutoModelForCausalLM": "modeling_deepseek.DeepseekV2ForCausalLM",
    },
    **_SIZES,
    "torch_dtype": "bfloat16",
    "use_mla": False,
    "v_head_dim": 0,
    "vocab_size": 544,
}
_SAM: JSON = {
    "downsample_channels": [16, 128],
    "global_attn_indexes": [2, 5, 8, 11],
    "heads": 4,
    "layers": 12,
    "width": 48,
}
_OCR2: JSON = {
    "_name_or_path": "deepseek-ai/DeepSeek-OCR-2",
    "candidate_resolutions": [[1024, 1024]],
    "global_view_pos": "head",
    "architectures": ["DeepseekOCR2ForCausalLM"],
    "auto_map": {
        "AutoConfig": "modeling_deepseekocr2.DeepseekOCR2Config",
        "AutoModel": "modeling_deepseekocr2.DeepseekOCR2ForCausalLM",
    },
    "language_config": _LANGUAGE,
    "model_type": "deepseek_vl_v2",
    "projector_config": {
        "input_dim": 112,
        "model_type": "mlp_projector",
        "n_embed": 128,
        "projector_type": "linear",
    },
    "tile_tag": "2D",
    "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3",
    "vision_config": {
        "image_size": 1024,
        "mlp_ratio": 3.7362,
        "model_name": "deepencoderv2",
        "model_type": "vision",
        "width": {"qwen2-0-5b": {"dim": 112}, "sam_vit_b": _SAM},
    },
    **_SIZES,
    "use_mla": False,
    "v_head_dim": 0,
    "vocab_size": 544,
}
_UNLIMITED: JSON = _OCR2 | {
    "_name_or_path": "baidu/Unlimited-OCR",
    "architectures": ["UnlimitedOCRForCausalLM"],
    "model_type": "unlimited-ocr",
    "max_position_embeddings": 32768,
    "sliding_window": 128,
    "auto_map": {
        "AutoConfig": "modeling_unlimitedocr.UnlimitedOCRConfig",
        "AutoModel": "modeling_unlimitedocr.UnlimitedOCRForCausalLM",
    },
    "projector_config": {
        "input_dim": 128,
        "model_type": "mlp_projector",
        "n_embed": 128,
        "projector_type": "linear",
    },
    "vision_config": {
        "image_size": 1024,
        "mlp_ratio": 3.7362,
        "model_name": "deeplip_b_l",
        "model_type": "vision",
        "width": {
            "clip-l-14-224": {"heads": 4, "image_size": 224, "layers": 24, "patch_size": 14, "width": 64},
            "sam_vit_b": {**_SAM, "downsample_channels": [16, 64]},
        },
    },
    "language_config": _LANGUAGE
    | {
        "architectures": ["DeepseekOCRForCausalLM"],
        "model_type": "deepseek_v2",
        "max_position_embeddings": 32768,
        "sliding_window_size": 128,
    },
}
PROCESSOR: JSON = {
    "add_special_token": False,
    "candidate_resolutions": [[1024, 1024]],
    "downsample_ratio": 4,
    "ignore_id": -100,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "image_token": "<image>",
    "mask_prompt": False,
    "normalize": True,
    "pad_token": "<｜▁pad▁｜>",
    "patch_size": 16,
    "processor_class": "DeepseekVLV2Processor",
    "sft_format": "deepseek",
}
_OF_UNLIMITED: JSON = {"processor_class": "UnlimitedOCRHFProcessor", "sft_format": "unlimitedocr"}


def released(kind: str) -> JSON:
    """The content of the release's config.json."""
    return _OCR2 if kind.startswith("ocr2") else _UNLIMITED


def ocr_config(kind: str) -> JSON:
    """The content of config.json."""
    return released(kind) if kind in ("ocr2", "unlimited-ocr") else _of_transformers(kind)


# What transformers keeps of the language model's config, in its order.
_KEPT = (
    "bos_token_id",
    "eos_token_id",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "moe_intermediate_size",
    "n_group",
    "n_routed_experts",
    "n_shared_experts",
    "num_attention_heads",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_key_value_heads",
    "topk_group",
    "topk_method",
    "vocab_size",
)


def _of_transformers(kind: str) -> JSON:
    content, ocr2 = released(kind), kind.startswith("ocr2")
    language, width = content["language_config"], content["vision_config"]["width"]
    model, prefix = ("DeepseekOcr2", "deepseek_ocr2") if ocr2 else ("UnlimitedOcr", "unlimited_ocr")
    text = {key: language[key] for key in _KEPT} | {
        "head_dim": 32,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "routed_scaling_factor": 1.0,
        "tie_word_embeddings": False,
        "mlp_layer_types": ["dense", "sparse", "sparse"],
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "model_type": f"{prefix}_text",
    }
    if not ocr2:
        text |= {"sliding_window": 128, "layer_types": ["reference_sliding_attention"] * 3}
    return {
        "architectures": [f"{model}ForConditionalGeneration"],
        "dtype": "bfloat16",
        "image_token_id": 516,
        "model_type": prefix,
        "text_config": text,
        "tie_word_embeddings": False,
        "transformers_version": "5.24.0",
        "vision_config": {
            "model_type": f"{prefix}_vision",
            "encoder_config": _qwen2(width["qwen2-0-5b"]) if ocr2 else _clip(width["clip-l-14-224"]),
            "sam_config": _sam(width["sam_vit_b"])
            | {
                "model_type": f"{prefix}_sam_vision_model",
                "downsample_channels": [16, 112 if ocr2 else 64],
            },
        },
    }


def _sam(sam: JSON) -> JSON:
    return {
        "hidden_size": sam["width"],
        "num_hidden_layers": sam["layers"],
        "num_attention_heads": sam["heads"],
        "global_attn_indexes": sam["global_attn_indexes"],
        "image_size": 1024,
        "patch_size": 16,
        "mlp_dim": 4 * sam["width"],
        "output_channels": 256,
        "window_size": 14,
        "layer_norm_eps": 1e-6,
    }


def _qwen2(encoder: JSON) -> JSON:
    return {
        "model_type": "deepseek_ocr2_encoder",
        "hidden_size": encoder["dim"],
        "intermediate_size": MLP,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
    }


def _clip(clip: JSON) -> JSON:
    return {
        "model_type": "unlimited_ocr_vision_encoder",
        "hidden_size": clip["width"],
        "intermediate_size": 4 * clip["width"],
        "num_hidden_layers": clip["layers"],
        "num_attention_heads": clip["heads"],
        "image_size": clip["image_size"],
        "patch_size": clip["patch_size"],
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
    }


def ocr_files(kind: str, content: JSON) -> dict[str, str]:
    """The text of config.json, with this content, and of processor_config.json."""
    ocr2 = kind.startswith("ocr2")
    processor = PROCESSOR if ocr2 else PROCESSOR | _OF_UNLIMITED
    if "vision_config" in content and "sam_config" in content["vision_config"]:
        processor = _processor_of_transformers("DeepseekOcr2" if ocr2 else "UnlimitedOcr", ocr2=ocr2)
    return {
        "config.json": json.dumps(content, ensure_ascii=False, indent=2),
        "processor_config.json": json.dumps(processor, ensure_ascii=False, indent=1),
    }


def _processor_of_transformers(model: str, *, ocr2: bool) -> JSON:
    return {
        "downsample_ratio": 4,
        "image_processor": {
            "background_color": [127, 127, 127],
            "crop_to_patches": True,
            "do_convert_rgb": True,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": f"{model}ImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "max_patches": 6 if ocr2 else 32,
            "min_patches": 2,
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"height": 1024, "width": 1024},
            "tile_size": 768 if ocr2 else 640,
        },
        "patch_size": 16,
        "processor_class": f"{model}Processor",
    }
