"""Kimi-K2.5 and K2.6: `KimiK25ForConditionalGeneration`, a Kimi-K2 that sees (moonshotai/Kimi-K2.5,
modeling_kimi_k25.py).

llama.cpp: conversion/kimivl.py; the engine's side is tools/mtmd/models/kimik25.cpp. Ollama runs its text only.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.checkpoint.nested_config import levels
from deepgguf.choices import FileKind
from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.types import Value
from deepgguf.models import deepseek_v2, kimi_k2
from deepgguf.models.config_schema import JsonObject, Positive, PositiveFloat, check_built_in, json_object, to_config
from deepgguf.models.engine_limits import engine_limits
from deepgguf.models.family import Family, KeyFacts, TargetFile
from deepgguf.models.language_model import LanguageConfig, language_drop_reason, language_table
from deepgguf.models.llamacpp import llamacpp_general, llamacpp_target
from deepgguf.models.ollama import ollama_target
from deepgguf.models.picture_keys import colour_keys, processor_number
from deepgguf.models.storage import ALWAYS_F32, MATRIX, PATCH
from deepgguf.models.table import Kind, Output, Row
from deepgguf.models.values import boolean, float32, present, string, uint32
from deepgguf.tensors.view import Shape, View

_FEWEST_PATCHES, _MOST_PATCHES = 8, 16384  # of a picture; conversion/kimivl.py
_STORAGE = {Kind.MATRIX: MATRIX, Kind.PATCH: PATCH}
_FRAMES = "positions of a video's frames, of which the engine sees none"
_BUILT_IN: JsonObject = {"projector_hidden_act": "gelu"}  # kimik25.cpp, build
_TIME = "vision_tower.patch_embed.pos_emb.time_weight"


class Vision(msgspec.Struct, frozen=True):
    """`vision_config`: MoonViT and the projector."""

    vt_hidden_size: Positive
    vt_intermediate_size: Positive
    vt_num_attention_heads: Positive
    vt_num_hidden_layers: Positive
    patch_size: Positive
    init_pos_emb_height: Positive
    init_pos_emb_width: Positive
    init_pos_emb_time: Positive
    merge_kernel_size: tuple[Positive, Positive]
    projector_ln_eps: PositiveFloat = 1e-5

    @property
    def head(self) -> int:
        """Dimensions of a head."""
        return self.vt_hidden_size // self.vt_num_attention_heads


class K25Config(msgspec.Struct, frozen=True):
    """The language model, and what sees."""

    language: LanguageConfig
    vision: Vision


def _parse(config: JsonObject, where: str) -> K25Config:
    seeing = next((level for level in levels(config) if "vision_config" in level), config)
    raw = json_object(seeing.get("vision_config"), where, "vision_config")
    where_seen = f"{where}: vision_config"
    check_built_in(raw, _BUILT_IN, where_seen)
    vision = to_config(raw, {}, Vision, where_seen)
    across, down = vision.merge_kernel_size
    if across != down or across == 1:  # clip.cpp, build_patch_merge_permute
        found = f"merge_kernel_size is {[across, down]}, expected two equal numbers above 1"
        raise CheckpointError(where_seen, found, "the engine merges squares of patches only")
    if vision.vt_hidden_size % (4 * vision.vt_num_attention_heads):
        found = f"vt_hidden_size is {vision.vt_hidden_size} for {vision.vt_num_attention_heads} heads"
        raise CheckpointError(where_seen, f"{found}, expected a multiple of 4 for each")
    return K25Config(kimi_k2.FAMILY.parse(config, where), vision)


def _table(c: K25Config, mtp_layers: int) -> Iterator[Row]:
    yield from language_table(c.language, mtp_layers)
    yield from _projector(c.vision, c.language.hidden_size)
    v, tower = c.vision, "vision_tower."
    for block in range(v.vt_num_hidden_layers):
        yield from _block(v, f"{tower}encoder.blocks.{block}.", f"v.blk.{block}.")
    yield from _layer(Kind.NORM, (v.vt_hidden_size,), f"{tower}encoder.final_layernorm", "v.post_ln")
    table = (v.init_pos_emb_height, v.init_pos_emb_width, v.vt_hidden_size)
    yield _row(f"{tower}patch_embed.pos_emb.weight", Kind.POSITIONS, View.whole(table), "v.position_embd.weight")
    kernels = (v.vt_hidden_size, 3, v.patch_size, v.patch_size)
    yield from _layer(Kind.PATCH, kernels, f"{tower}patch_embed.proj", "v.patch_embd")


def _projector(v: Vision, hidden_size: int) -> Iterator[Row]:
    """Patches that are merged lie beside each other."""
    merged = v.vt_hidden_size * v.merge_kernel_size[0] * v.merge_kernel_size[1]
    yield from _layer(Kind.NORM, (v.vt_hidden_size,), "mm_projector.pre_norm", "mm.input_norm")
    yield from _layer(Kind.MATRIX, (merged, merged), "mm_projector.proj.0", "mm.1")
    yield from _layer(Kind.MATRIX, (hidden_size, merged), "mm_projector.proj.2", "mm.2")


def _block(v: Vision, p: str, to: str) -> Iterator[Row]:
    width, inner = v.vt_hidden_size, v.vt_intermediate_size
    yield from _layer(Kind.NORM, (width,), f"{p}norm0", f"{to}ln1")
    yield from _layer(Kind.NORM, (width,), f"{p}norm1", f"{to}ln2")
    yield from _layer(Kind.MATRIX, (inner, width), f"{p}mlp.fc0", f"{to}ffn_up")
    yield from _layer(Kind.MATRIX, (width, inner), f"{p}mlp.fc1", f"{to}ffn_down")
    # The model rotates pairs for x and y by turns, the engine all for x and then all for y; values are not rotated.
    for source, name, kind, shape in (
        ("wqkv.weight", "attn_qkv.weight", Kind.MATRIX, (3 * width, width)),
        ("wqkv.bias", "attn_qkv.bias", Kind.BIAS, (3 * width,)),
    ):
        yield _row(f"{p}{source}", kind, View.paired_heads(shape, v.head, rest=width), f"{to}{name}")
    yield from _layer(Kind.MATRIX, (width, width), f"{p}wo", f"{to}attn_out")


def _layer(kind: Kind, shape: Shape, source: str, name: str) -> Iterator[Row]:
    """Weights and biases."""
    yield _row(f"{source}.weight", kind, View.whole(shape), f"{name}.weight")
    yield _row(f"{source}.bias", Kind.BIAS, View.whole(shape[:1]), f"{name}.bias")


def _row(source: str, kind: Kind, view: View, name: str) -> Row:
    """A tensor that is taken whole, by a view of its own shape."""
    output = Output(name, view, _STORAGE.get(kind, ALWAYS_F32), "mmproj")
    return Row(source, kind, view.shape, {"llama.cpp": (output,)})


def _drop_reason(c: K25Config, name: str) -> str | None:
    return _FRAMES if name == _TIME else language_drop_reason(c.language, name)


def _mmproj_keys(c: K25Config, facts: KeyFacts) -> dict[str, Value]:
    """What clip.cpp reads; the numbers of positions have names of their own (conversion/kimivl.py)."""
    v = c.vision
    own = {
        "has_vision_encoder": boolean(True),
        "projector_type": string("kimik25"),
        "use_gelu": boolean(True),
        "vision.projection_dim": uint32(c.language.hidden_size),
        "vision.image_size": uint32(v.init_pos_emb_height * v.patch_size),
        "vision.patch_size": uint32(v.patch_size),
        "vision.embedding_length": uint32(v.vt_hidden_size),
        "vision.feed_forward_length": uint32(v.vt_intermediate_size),
        "vision.block_count": uint32(v.vt_num_hidden_layers),
        "vision.attention.head_count": uint32(v.vt_num_attention_heads),
        "vision.attention.layer_norm_epsilon": float32(v.projector_ln_eps),
        **colour_keys(facts),
        "vision.projector.scale_factor": uint32(v.merge_kernel_size[0]),
        "vision.image_min_pixels": uint32(_FEWEST_PATCHES * v.patch_size**2),
        "vision.image_max_pixels": uint32(processor_number(facts, "in_patch_limit", _MOST_PATCHES) * v.patch_size**2),
    }
    positions = {
        "vision.pos_emb_height": uint32(v.init_pos_emb_height),
        "vision.pos_emb_width": uint32(v.init_pos_emb_width),
        "vision.pos_emb_time": uint32(v.init_pos_emb_time),
    }
    return llamacpp_general(facts, "mmproj") | present(own, f"{facts.architecture}.") | present(positions)


def _blind(c: K25Config) -> tuple[str, ...]:
    return ('this file sees no pictures: only `target="llama.cpp"` has one for what the model sees with (mmproj)',)


_LLAMACPP_FILES: dict[FileKind, TargetFile[K25Config]] = {
    "text": TargetFile("deepseek2", lambda c, facts: deepseek_v2.llamacpp_keys(c.language, facts)),
    "mmproj": TargetFile("clip", _mmproj_keys),
}
_OLLAMA = TargetFile[K25Config]("deepseek2", lambda c, facts: kimi_k2.ollama_keys(c.language, facts))
FAMILY = Family(
    name="KimiK25ForConditionalGeneration",
    model_type="kimi_k25",
    parse=_parse,
    table=_table,
    drop_reason=_drop_reason,
    targets={
        "ollama": ollama_target(_OLLAMA, deepseek_v2.NARROW, _blind),
        "llama.cpp": llamacpp_target(_LLAMACPP_FILES),
    },
    limits=lambda c: engine_limits(c.language),
    pre="kimi-k2",
)
