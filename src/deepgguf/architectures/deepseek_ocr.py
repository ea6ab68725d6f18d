"""DeepSeek-OCR: `DeepseekOCRForCausalLM`, a DeepSeek MoE language model behind SAM and CLIP (arXiv 2510.18234)."""

from collections.abc import Iterator

from deepgguf.architectures import deepseek_v2
from deepgguf.architectures.architecture import Architecture, Model
from deepgguf.architectures.config_schema import JsonObject, json_object, to_config
from deepgguf.architectures.language_model import language_drop_reason, language_tensors, parse_language_config
from deepgguf.architectures.tensors import ExpectedTensor
from deepgguf.architectures.vision_encoders import VisionConfig, vision_tensors
from deepgguf.errors import CheckpointError

# The nested language_config is one of DeepSeek-V2's class; DeepSeek-OCR turns MLA off and then has no such dimensions.
_DEFAULTS: JsonObject = {
    **deepseek_v2.DEFAULTS,
    "use_mla": False,
    "q_lora_rank": None,
    "kv_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "v_head_dim": 0,
}


def _parse(config: JsonObject, where: str) -> Model:
    raw = json_object(config.get("language_config"), where, "language_config")
    # The FP8 blocks of a quantized copy stand beside the nested configs, not in them.
    outer = {key: config[key] for key in ("quantization_config",) if key in config}
    language = parse_language_config({**outer, **raw}, _DEFAULTS, f"{where}: language_config")
    if language.use_mla:
        raise CheckpointError(where, "language_config.use_mla is true, expected false", "no engine runs this variant")
    return Model("DeepseekOCRForCausalLM", language, _vision(config, where))


def _vision(config: JsonObject, where: str) -> VisionConfig:
    raw = json_object(config.get("vision_config"), where, "vision_config")
    width = json_object(raw.get("width"), where, "vision_config.width")
    encoders = {"clip": width.get("clip-l-14-224"), "sam": width.get("sam_vit_b")}
    return to_config({**raw, **encoders}, {}, VisionConfig, f"{where}: vision_config")


def _tensors(model: Model) -> Iterator[ExpectedTensor]:
    yield from language_tensors(model.language)
    if model.vision:
        yield from vision_tensors(model.vision, model.language.hidden_size)


def _drop_reason(model: Model, name: str) -> str | None:
    return language_drop_reason(model.language, name)


ARCHITECTURE = Architecture("DeepseekOCRForCausalLM", _parse, _tensors, _drop_reason)
