"""DeepSeek-OCR-2: `DeepseekOCR2ForCausalLM`, a DeepSeek MoE language model behind SAM and a Qwen2 encoder that reads a
picture by learned queries (deepseek-ai/DeepSeek-OCR-2, deepencoderv2.py).

llama.cpp: conversion/deepseek.py, DeepseekOCR2VisionModel; the engine's side is tools/mtmd/models/deepseekocr2.cpp.
Ollama's converter does not know it, but its engine is llama.cpp's, so that both targets have the same two files.
"""

from collections.abc import Iterator, Mapping

import msgspec

from deepgguf.checkpoint.nested_config import levels
from deepgguf.choices import FileKind
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import Value
from deepgguf.models import bundled_templates, deepseek_ocr
from deepgguf.models.config_schema import JsonObject, Positive, PositiveFloat, check_built_in, to_config
from deepgguf.models.engine_limits import unread_limits
from deepgguf.models.family import Family, KeyFacts, TargetFile
from deepgguf.models.language_model import LanguageConfig, language_drop_reason, language_table
from deepgguf.models.llamacpp import llamacpp_general, llamacpp_target
from deepgguf.models.ocr_forms import encoder_fields, released_vision
from deepgguf.models.picture_keys import colour_keys
from deepgguf.models.storage import ALWAYS_F32, MATRIX
from deepgguf.models.table import Kind, Output, Row
from deepgguf.models.values import boolean, float32, present, string, uint32
from deepgguf.models.vision_encoders import SAM_PATCH, SamConfig, projector_table, sam_keys, sam_limits, sam_table
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import Shape, View

# What deepencoderv2.py builds the encoder with; config.json has only its width.
_ENCODER: JsonObject = {"layers": 24, "heads": 14, "kv_heads": 2, "eps": 1e-6}
_MLP = 4864
# deepseekocr2.cpp, build; only transformers' form says it.
_BUILT_IN: JsonObject = {"hidden_act": "silu", "rope_theta": 1e6, "rope_type": "default"}
_QUERIES = {"query_768": 144, "query_1024": 256}  # tokens of a tile and of the whole page
_QWEN2 = (
    "qwen2-0-5b",
    {
        "hidden_size": "dim",
        "num_hidden_layers": "layers",
        "num_attention_heads": "heads",
        "num_key_value_heads": "kv_heads",
        "rms_norm_eps": "eps",
    },
)
_FIRST_MLP = "model.qwen2_model.model.model.layers.0.mlp.gate_proj.weight"


class Qwen2Encoder(msgspec.Struct, frozen=True):
    """The encoder behind SAM; `mlp` is the width of its MLPs, which only the tensors tell."""

    dim: Positive
    layers: Positive
    heads: Positive
    kv_heads: Positive
    eps: PositiveFloat
    mlp: Positive = _MLP


class Ocr2Config(msgspec.Struct, frozen=True):
    """The language model, and what sees pictures of `image_size` pixels a side.

    `intermediate_size` is what config.json calls the width of the encoder's MLPs, right or not: a key goes by it.
    """

    language: LanguageConfig
    image_size: Positive
    sam: SamConfig
    encoder: Qwen2Encoder
    intermediate_size: Positive = _MLP


def _parse(config: JsonObject, where: str) -> Ocr2Config:
    config = next((level for level in levels(config) if "vision_config" in level), config)
    vision, sam, own = released_vision(config, _QWEN2, where)
    check_built_in(encoder_fields(config), _BUILT_IN, f"{where}: vision_config.encoder_config")
    encoder = to_config(own, {**_ENCODER, **_layers(vision)}, Qwen2Encoder, f"{where}: vision_config")
    if encoder.dim % encoder.heads or encoder.heads % encoder.kv_heads:
        found = f"the encoder has width {encoder.dim}, {encoder.heads} heads and {encoder.kv_heads} of keys and values"
        raise CheckpointError(f"{where}: vision_config", f"{found}, expected multiples of each other")
    seen = to_config({**vision, "sam": sam}, {}, _Seen, f"{where}: vision_config")
    # The release says 1024 channels, and its tensors have the encoder's.
    channels = (seen.sam.downsample_channels[0], encoder.dim)
    return Ocr2Config(
        deepseek_ocr.parse_language(config, deepseek_ocr.DEFAULTS, where),
        seen.image_size,
        msgspec.structs.replace(seen.sam, downsample_channels=channels),
        encoder,
        seen.intermediate_size or _MLP,
    )


class _Seen(msgspec.Struct, frozen=True):
    image_size: Positive
    sam: SamConfig
    intermediate_size: Positive | None = None


def _layers(vision: JsonObject) -> JsonObject:
    return {"layers": vision["layers"]} if vision.get("layers") is not None else {}


def _measured(c: Ocr2Config, tensors: Mapping[str, SourceTensor]) -> Ocr2Config:
    first = tensors.get(_FIRST_MLP)
    if first is None or len(first.shape) != 2:
        return c
    return msgspec.structs.replace(c, encoder=msgspec.structs.replace(c.encoder, mlp=first.shape[0]))


def _table(c: Ocr2Config, mtp_layers: int) -> Iterator[Row]:
    """Both targets have llama.cpp's layout."""
    for row in _rows(c, mtp_layers):
        outputs = row.outputs["llama.cpp"]
        yield msgspec.structs.replace(row, outputs={"ollama": outputs, "llama.cpp": outputs})


def _rows(c: Ocr2Config, mtp_layers: int) -> Iterator[Row]:
    yield from language_table(c.language, mtp_layers)
    yield from projector_table((c.language.hidden_size, c.encoder.dim))
    yield from sam_table(c.sam, c.image_size)
    for block in range(c.encoder.layers):
        yield from _block(c.encoder, block)
    model, dim = "model.qwen2_model.", c.encoder.dim
    yield _row(f"{model}model.model.norm.weight", Kind.NORM, (dim,), "v.post_ln.weight")
    for query, tokens in _QUERIES.items():
        yield _row(f"{model}{query}.weight", Kind.MATRIX, (tokens, dim), f"v.resample_{query}.weight")


def _block(e: Qwen2Encoder, block: int) -> Iterator[Row]:
    p, to, keys = f"model.qwen2_model.model.model.layers.{block}.", f"v.blk.{block}.", e.dim // e.heads * e.kv_heads
    yield _row(f"{p}input_layernorm.weight", Kind.NORM, (e.dim,), f"{to}ln1.weight")
    for word, rows in (("q", e.dim), ("k", keys), ("v", keys)):
        yield _row(f"{p}self_attn.{word}_proj.weight", Kind.MATRIX, (rows, e.dim), f"{to}attn_{word}.weight")
        yield _row(f"{p}self_attn.{word}_proj.bias", Kind.BIAS, (rows,), f"{to}attn_{word}.bias")
    yield _row(f"{p}self_attn.o_proj.weight", Kind.MATRIX, (e.dim, e.dim), f"{to}attn_out.weight")
    yield _row(f"{p}post_attention_layernorm.weight", Kind.NORM, (e.dim,), f"{to}ln2.weight")
    for word, shape in (("gate", (e.mlp, e.dim)), ("up", (e.mlp, e.dim)), ("down", (e.dim, e.mlp))):
        yield _row(f"{p}mlp.{word}_proj.weight", Kind.MATRIX, shape, f"{to}ffn_{word}.weight")


def _row(source: str, kind: Kind, shape: Shape, name: str) -> Row:
    storage = MATRIX if kind is Kind.MATRIX else ALWAYS_F32
    return Row(source, kind, shape, {"llama.cpp": (Output(name, View.whole(shape), storage, "mmproj"),)})


def _mmproj_keys(c: Ocr2Config, facts: KeyFacts) -> dict[str, Value]:
    """What clip.cpp reads, and the width of the MLPs, which it does not."""
    own = {
        "has_vision_encoder": boolean(True),
        "projector_type": string("deepseekocr2"),
        "use_gelu": boolean(True),
        "vision.projection_dim": uint32(c.language.hidden_size),
        "vision.image_size": uint32(c.image_size),
        "vision.patch_size": uint32(SAM_PATCH),
        "vision.embedding_length": uint32(c.encoder.dim),
        "vision.feed_forward_length": uint32(c.intermediate_size),
        "vision.block_count": uint32(c.encoder.layers),
        "vision.attention.head_count": uint32(c.encoder.heads),
        "vision.attention.head_count_kv": uint32(c.encoder.kv_heads),
        "vision.attention.layer_norm_epsilon": float32(c.encoder.eps),
        **colour_keys(facts),
        "vision.window_size": uint32(14),
        "vision.preproc_min_tiles": uint32(2),
        "vision.preproc_max_tiles": uint32(6),
        **sam_keys(c.sam),
    }
    return llamacpp_general(facts, "mmproj") | present(own, f"{facts.architecture}.")


def _keys(c: Ocr2Config, facts: KeyFacts) -> dict[str, Value]:
    return deepseek_ocr.language_keys(c.language, facts)


def _limits(c: Ocr2Config) -> tuple[str, ...]:
    return (*unread_limits(c.language), *sam_limits(c.sam))


_FILES: dict[FileKind, TargetFile[Ocr2Config]] = {
    "text": TargetFile("deepseek2-ocr", _keys),
    "mmproj": TargetFile("clip", _mmproj_keys),
}
FAMILY = Family(
    name="DeepseekOCR2ForCausalLM",
    also=("DeepseekOcr2ForConditionalGeneration", "deepseek_ocr2"),
    parse=_parse,
    measured=_measured,
    table=_table,
    drop_reason=lambda c, name: language_drop_reason(c.language, name),
    limits=_limits,
    targets={"ollama": llamacpp_target(_FILES), "llama.cpp": llamacpp_target(_FILES)},
    chat_template=lambda config: bundled_templates.OCR,
)
