"""Unlimited-OCR: `UnlimitedOCRForCausalLM` (baidu/Unlimited-OCR), DeepSeek-OCR's tensors with a window for answers.

llama.cpp: conversion/deepseek.py has it beside DeepSeek-OCR. Ollama's converter does not know it; its engine takes
DeepSeek-OCR's layout, and what it would take for DeepSeek-OCR's own is in two keys of clip (llama/compat).
"""

from collections.abc import Iterator, Mapping

import msgspec

from deepgguf.checkpoint.nested_config import levels, with_language_field
from deepgguf.choices import FileKind
from deepgguf.formats.gguf.types import Value
from deepgguf.models import deepseek_ocr
from deepgguf.models.config_schema import JsonObject
from deepgguf.models.deepseek_ocr import OcrConfig
from deepgguf.models.family import KeyFacts, TargetFile
from deepgguf.models.llamacpp import llamacpp_target
from deepgguf.models.ollama import ollama_target
from deepgguf.models.table import Row
from deepgguf.models.values import present, uint32
from deepgguf.tensors.source_tensor import SourceTensor

# Tiles that a page is cut into at most (processing_unlimitedocr.py; DeepSeek-OCR: 9).
_MOST_TILES = 32
_DEFAULTS: JsonObject = {**deepseek_ocr.DEFAULTS, "sliding_window_size": None, "layer_types": None}
_WINDOW = ("sliding_window_size", "sliding_window")
_QUERIES = "model.vision_model.transformer.layers.0.self_attn.q_proj.weight"
_UNUSED = "model.vision_model.embeddings.patch_embedding.weight"


def _parse(config: JsonObject, where: str) -> OcrConfig:
    """The window stands in the language model's config under two names, or beside it."""
    said = [level.get(name) for level in reversed([*levels(config)]) for name in _WINDOW]
    window = next((size for size in said if size is not None), None)
    return deepseek_ocr.parse(with_language_field(config, "sliding_window", window), _DEFAULTS, where)


def _measured(c: OcrConfig, tensors: Mapping[str, SourceTensor]) -> OcrConfig:
    """Transformers' modules have CLIP's queries, keys and values apart."""
    if _QUERIES not in tensors:
        return c
    vision = msgspec.structs.replace(c.vision, clip=msgspec.structs.replace(c.vision.clip, apart=True))
    return msgspec.structs.replace(c, vision=vision)


def _table(c: OcrConfig, mtp_layers: int) -> Iterator[Row]:
    """CLIP gets SAM's features in place of patches; transformers does not even save its own patch embedding."""
    for row in deepseek_ocr.FAMILY.table(c, mtp_layers):
        yield msgspec.structs.replace(row, optional=True) if row.source == _UNUSED else row


def _keys(c: OcrConfig, facts: KeyFacts) -> dict[str, Value]:
    own = {"attention.sliding_window": uint32(c.language.sliding_window)}
    return deepseek_ocr.llamacpp_keys(c, facts) | present(own, f"{facts.architecture}.")


def _mmproj_keys(c: OcrConfig, facts: KeyFacts) -> dict[str, Value]:
    own = {"vision.preproc_max_tiles": uint32(_MOST_TILES)}
    return deepseek_ocr.mmproj_keys(c, facts) | present(own, f"{facts.architecture}.")


def _ollama_keys(c: OcrConfig, facts: KeyFacts) -> dict[str, Value]:
    tiles = {"preproc_min_tiles": uint32(2), "preproc_max_tiles": uint32(_MOST_TILES)}
    return deepseek_ocr.ollama_keys(c, facts) | present(tiles, "clip.vision.")


def _limits(c: OcrConfig) -> tuple[str, ...]:
    window, others = c.language.sliding_window, deepseek_ocr.FAMILY.limits(c)
    if not window:
        return others
    found = f"the original sees the prompt and the last {window} tokens of its answer, the engines see all"
    return *others, f"{found}: longer answers will differ, so give it shorter pieces of a page"


_LLAMACPP_FILES: dict[FileKind, TargetFile[OcrConfig]] = {
    "text": TargetFile("deepseek2-ocr", _keys),
    "mmproj": TargetFile("clip", _mmproj_keys),
}
FAMILY = msgspec.structs.replace(
    deepseek_ocr.FAMILY,
    name="UnlimitedOCRForCausalLM",
    model_type="unlimited-ocr",
    also=("UnlimitedOcrForConditionalGeneration", "unlimited_ocr"),
    parse=_parse,
    measured=_measured,
    table=_table,
    limits=_limits,
    targets={
        "ollama": ollama_target(TargetFile("deepseekocr", _ollama_keys), deepseek_ocr.KEPT),
        "llama.cpp": llamacpp_target(_LLAMACPP_FILES, deepseek_ocr.llamacpp_limits),
    },
)
