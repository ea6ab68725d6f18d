"""DeepSeek-OCR: `DeepseekOCRForCausalLM`, a DeepSeek MoE language model behind SAM and CLIP (arXiv 2510.18234).

Ollama has everything in one file (convert/convert_deepseekocr.go). llama.cpp has SAM, CLIP and the projector in an
mmproj beside it (conversion/deepseek.py, DeepseekOCRVisionModel; the engine's side is tools/mtmd/models/deepseekocr.cpp
and clip.cpp).
"""

from collections.abc import Iterator

import msgspec

from deepgguf.checkpoint.nested_config import levels, nested
from deepgguf.choices import FileKind
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.models import bundled_templates, deepseek_v2
from deepgguf.models.config_schema import JsonObject, json_object, to_config
from deepgguf.models.engine_limits import unread_limits
from deepgguf.models.family import Family, KeyFacts, TargetFile
from deepgguf.models.language_keys import group_keys, size_keys
from deepgguf.models.language_model import LanguageConfig, language_drop_reason, language_table, parse_language_config
from deepgguf.models.llamacpp import llamacpp_general, llamacpp_target
from deepgguf.models.ocr_forms import released_vision
from deepgguf.models.ollama import ollama_target
from deepgguf.models.picture_keys import colour_keys
from deepgguf.models.table import Row
from deepgguf.models.tokenizer_keys import llamacpp_tokenizer_keys, ollama_tokenizer_keys
from deepgguf.models.values import array, boolean, float32, present, string, uint32
from deepgguf.models.vision_encoders import VisionConfig, sam_keys, sam_limits, vision_table
from deepgguf.recipes.choice import Exceptions

# The nested language_config is one of DeepSeek-V2's class; DeepSeek-OCR turns MLA off and then has no such dimensions.
DEFAULTS: JsonObject = {
    **deepseek_v2.DEFAULTS,
    "use_mla": False,
    "q_lora_rank": None,
    "kv_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "v_head_dim": 0,
}
KEPT = Exceptions(kept_prefixes=("v.", "s.", "mm."))
"""Ollama's one file is quantized like llama.cpp's of the language model."""
_CLIP = (
    "clip-l-14-224",
    {
        "num_attention_heads": "heads",
        "image_size": "image_size",
        "num_hidden_layers": "layers",
        "patch_size": "patch_size",
        "hidden_size": "width",
    },
)


class OcrConfig(msgspec.Struct, frozen=True):
    """The language model, and what sees."""

    language: LanguageConfig
    vision: VisionConfig


def _parse(config: JsonObject, where: str) -> OcrConfig:
    return parse(config, DEFAULTS, where)


def parse(config: JsonObject, defaults: JsonObject, where: str) -> OcrConfig:
    """What config.json says of both; absent fields of the language model take `defaults`."""
    seeing = next((level for level in levels(config) if "vision_config" in level), config)
    return OcrConfig(parse_language(seeing, defaults, where), _vision(seeing, where))


def parse_language(config: JsonObject, defaults: JsonObject, where: str) -> LanguageConfig:
    """The language model in the object within `config`; CheckpointError for one that the engines cannot run."""
    key, raw = nested(config) or ("language_config", config.get("language_config"))
    raw = json_object(raw, where, key)
    language = parse_language_config(raw, defaults, f"{where}: {key}")
    if language.use_mla:
        raise CheckpointError(where, f"{key}.use_mla is true, expected false", "no engine runs this variant")
    if language.scaling or language.rope_theta not in (None, 10000.0):
        found = f"{key} has rope_theta {language.rope_theta:g}{' and rope_scaling' if language.scaling else ''}"
        reason = "the engines rotate DeepSeek-OCR by these alone (deepseek2.cpp)"
        raise CheckpointError(where, f"{found}, expected 10000 without scaling", reason)
    return language


def _vision(config: JsonObject, where: str) -> VisionConfig:
    vision, sam, clip = released_vision(config, _CLIP, where)
    return to_config({**vision, "sam": sam, "clip": clip}, {}, VisionConfig, f"{where}: vision_config")


def _table(c: OcrConfig, mtp_layers: int) -> Iterator[Row]:
    yield from language_table(c.language, mtp_layers)
    yield from vision_table(c.vision, c.language.hidden_size)


def _drop_reason(c: OcrConfig, name: str) -> str | None:
    return language_drop_reason(c.language, name)


def ollama_keys(config: OcrConfig, facts: KeyFacts) -> dict[str, Value]:
    """The keys of Ollama's converter, and those that its engine has to guess otherwise (size_keys, vocab_size)."""
    c, vision = config.language, config.vision
    general = {"architecture": string(facts.architecture), "quantization_version": uint32(2)}
    own = {
        **size_keys(c),
        "attention.head_count_kv": uint32(c.num_key_value_heads),
        "vocab_size": uint32(c.vocab_size),
        "vision.block_count": uint32(vision.clip.layers),
        "vision.embedding_length": uint32(vision.clip.width),
        "vision.head_count": uint32(vision.clip.heads),
        "vision.image_size": uint32(vision.clip.image_size),
        "vision.patch_size": uint32(vision.clip.patch_size),
        "sam.block_count": uint32(vision.sam.layers),
        "sam.embedding_length": uint32(vision.sam.width),
        "sam.head_count": uint32(vision.sam.heads),
        "sam.global_attention_indexes": array(ValueType.INT32, vision.sam.global_attn_indexes),
    }
    tokenizer = ollama_tokenizer_keys(facts.checkpoint.tokenizer, c.vocab_size)
    return present(general, "general.") | present(own, f"{facts.architecture}.") | tokenizer


def llamacpp_keys(config: OcrConfig, facts: KeyFacts) -> dict[str, Value]:
    """Those of the language model."""
    return language_keys(config.language, facts)


def language_keys(c: LanguageConfig, facts: KeyFacts) -> dict[str, Value]:
    """As llama.cpp's converter writes them; rope.dimension_count 0 (no MLA, so no rope part of a head) is intended."""
    own = {
        **size_keys(c),
        **group_keys(c),
        "vocab_size": uint32(c.vocab_size),
        "attention.head_count_kv": uint32(c.num_key_value_heads),
        "rope.dimension_count": uint32(c.qk_rope_head_dim),
    }
    tokenizer = llamacpp_tokenizer_keys(facts.checkpoint.tokenizer, c.vocab_size)
    return llamacpp_general(facts, "model") | present(own, f"{facts.architecture}.") | tokenizer


def mmproj_keys(config: OcrConfig, facts: KeyFacts) -> dict[str, Value]:
    """What clip.cpp reads. feed_forward_length is 4 x heads: upstream's quirk, not the MLP's width."""
    clip, sam = config.vision.clip, config.vision.sam
    own = {
        "has_vision_encoder": boolean(True),
        "projector_type": string("deepseekocr"),
        "use_gelu": boolean(True),
        "vision.projection_dim": uint32(config.language.hidden_size),
        "vision.image_size": uint32(clip.image_size),
        "vision.patch_size": uint32(clip.patch_size),
        "vision.embedding_length": uint32(clip.width),
        "vision.feed_forward_length": uint32(4 * clip.heads),
        "vision.block_count": uint32(clip.layers),
        "vision.attention.head_count": uint32(clip.heads),
        "vision.attention.layer_norm_epsilon": float32(1e-6),
        **colour_keys(facts),
        "vision.projector.scale_factor": uint32(1),
        "vision.window_size": uint32(14),
        "vision.preproc_min_tiles": uint32(2),
        "vision.preproc_max_tiles": uint32(9),
        **sam_keys(sam),
    }
    return llamacpp_general(facts, "mmproj") | present(own, f"{facts.architecture}.")


def _limits(c: OcrConfig) -> tuple[str, ...]:
    return tuple(unread_limits(c.language))


def llamacpp_limits(c: OcrConfig) -> tuple[str, ...]:
    """What clip.cpp has built in."""
    return sam_limits(c.vision.sam)


_LLAMACPP_FILES: dict[FileKind, TargetFile[OcrConfig]] = {
    "text": TargetFile("deepseek2-ocr", llamacpp_keys),
    "mmproj": TargetFile("clip", mmproj_keys),
}
FAMILY = Family(
    name="DeepseekOCRForCausalLM",
    parse=_parse,
    table=_table,
    drop_reason=_drop_reason,
    limits=_limits,
    targets={
        "ollama": ollama_target(TargetFile("deepseekocr", ollama_keys), KEPT),
        "llama.cpp": llamacpp_target(_LLAMACPP_FILES, llamacpp_limits),
    },
    chat_template=lambda config: bundled_templates.OCR,
)
