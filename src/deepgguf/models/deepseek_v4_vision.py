"""What sees in DeepSeek-V4-Flash-Vision-Exp: a vision transformer, and the aligner that makes tokens of its patches.

Names and shapes: the release's inference/vision.py. Layout: llama.cpp's conversion/deepseek.py,
DeepseekV4FlashVisionModel; the engine's side is tools/mtmd/models/deepseek4v.cpp and clip.cpp.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.formats.gguf.types import Value
from deepgguf.models.config_schema import JsonObject, NotNegative, Positive, PositiveFloat, to_config
from deepgguf.models.family import KeyFacts
from deepgguf.models.llamacpp import llamacpp_general
from deepgguf.models.picture_keys import colour_keys
from deepgguf.models.storage import ALWAYS_F32, MATRIX, PATCH
from deepgguf.models.table import Kind, Output, Row
from deepgguf.models.values import boolean, float32, present, string, uint32
from deepgguf.tensors.view import Shape, View

# What clip.cpp has built in (PROJECTOR_TYPE_DEEPSEEK4V): config.json's values have no key.
_BUILT_IN = {"vision_max_n_token": 384, "vision_max_wh_ratio": 8, "vision_rope_theta": 10000.0}
_WARMUP_SIDE = 16  # tokens on a side of the picture whose size clip.cpp reads and uses only for estimates
_EPSILON = 1e-6  # vision.py, RMSNorm: not the language model's
_STORAGE = {Kind.MATRIX: MATRIX, Kind.PATCH: PATCH}


class Vision(msgspec.Struct, frozen=True, rename=lambda name: f"vision_{name}"):
    """The fields vision_… of config.json that decide keys, names or shapes."""

    n_layers: Positive
    dim: Positive
    n_heads: Positive
    inter_dim: Positive
    patch_size: Positive
    downsample_ratio: Positive
    min_pixels: NotNegative
    max_n_token: Positive
    max_wh_ratio: PositiveFloat
    rope_theta: PositiveFloat


def parse_vision(config: JsonObject, where: str) -> Vision | None:
    """What config.json says of what sees; None if nothing does. CheckpointError names the key that is wrong."""
    return to_config(config, _BUILT_IN, Vision, where) if config.get("vision_n_layers") else None


def vision_table(v: Vision, hidden_size: int) -> Iterator[Row]:
    """Every tensor of the transformer and the aligner; `hidden_size` is the language model's width."""
    patch = 3 * v.patch_size**2
    kernels = View.whole((v.dim, patch)).reshaped((v.dim, 3, v.patch_size, v.patch_size))
    yield _row("vision.patch_embed.proj.weight", Kind.PATCH, (v.dim, patch), ("v.patch_embd.weight", kernels))
    yield _row("vision.patch_embed.proj.bias", Kind.BIAS, (v.dim,), "v.patch_embd.bias")
    for n in range(v.n_layers):
        yield from _block(v, f"vision.blocks.{n}.", f"v.blk.{n}.")
    yield _row("vision.norm.weight", Kind.NORM, (v.dim,), "v.post_ln.weight")
    yield from _layer((hidden_size, v.dim * v.downsample_ratio**2), "aligner.w1", "mm.1")
    yield from _layer((hidden_size, hidden_size), "aligner.w2", "mm.2")
    yield _row("image_newline", Kind.VECTOR, (hidden_size,), "v.image_newline")
    for name in ("start", "end", "pad"):
        yield _row(f"image_{name}", Kind.VECTOR, (hidden_size,), f"v.token_embd.img_{name}")


def _block(v: Vision, p: str, name: str) -> Iterator[Row]:
    """A block; `mlp.w1` holds the gate's rows, and then those of what it gates."""
    width, fused = v.inter_dim, (2 * v.inter_dim, v.dim)
    gate, up = (View.of_heads(fused, 1, first, first + width).reshaped((width, v.dim)) for first in (0, width))
    yield _row(f"{p}norm1.weight", Kind.NORM, (v.dim,), f"{name}ln1.weight")
    yield from _layer((3 * v.dim, v.dim), f"{p}attn.wqkv", f"{name}attn_qkv")
    yield from _layer((v.dim, v.dim), f"{p}attn.wo", f"{name}attn_out")
    yield _row(f"{p}norm2.weight", Kind.NORM, (v.dim,), f"{name}ln2.weight")
    halves = (f"{name}ffn_gate.weight", gate), (f"{name}ffn_up.weight", up)
    yield _row(f"{p}mlp.w1.weight", Kind.MATRIX, fused, *halves)
    yield _row(f"{p}mlp.w2.weight", Kind.MATRIX, (v.dim, width), f"{name}ffn_down.weight")


def _layer(shape: Shape, source: str, name: str) -> Iterator[Row]:
    """A matrix and its biases."""
    yield _row(f"{source}.weight", Kind.MATRIX, shape, f"{name}.weight")
    yield _row(f"{source}.bias", Kind.BIAS, shape[:1], f"{name}.bias")


def _row(source: str, kind: Kind, shape: Shape, *names: str | tuple[str, View]) -> Row:
    """A tensor and what becomes of it: all of it under a name, or views of it. Ollama has no file for it."""
    views = [(name, View.whole(shape)) if isinstance(name, str) else name for name in names]
    outputs = tuple(Output(name, view, _STORAGE.get(kind, ALWAYS_F32), "mmproj") for name, view in views)
    return Row(source, kind, shape, {"llama.cpp": outputs})


def mmproj_keys(v: Vision, hidden_size: int, facts: KeyFacts) -> dict[str, Value]:
    """What clip.cpp reads."""
    own = {
        "has_vision_encoder": boolean(True),
        "projector_type": string("deepseek4v"),
        "use_silu": boolean(True),
        "vision.projection_dim": uint32(hidden_size),
        "vision.image_size": uint32(v.patch_size * v.downsample_ratio * _WARMUP_SIDE),
        "vision.patch_size": uint32(v.patch_size),
        "vision.embedding_length": uint32(v.dim),
        "vision.feed_forward_length": uint32(v.inter_dim),
        "vision.block_count": uint32(v.n_layers),
        "vision.attention.head_count": uint32(v.n_heads),
        "vision.attention.layer_norm_epsilon": float32(_EPSILON),
        **colour_keys(facts),
        "vision.image_min_pixels": uint32(v.min_pixels),
        "vision.projector.scale_factor": uint32(v.downsample_ratio),
    }
    return llamacpp_general(facts, "mmproj") | present(own, f"{facts.architecture}.")


def vision_limits(v: Vision) -> Iterator[str]:
    """What clip.cpp computes otherwise."""
    said = msgspec.to_builtins(v)
    for key, value in _BUILT_IN.items():
        if said[key] != value:
            yield f"llama.cpp has {key} {value:g} built in, and this model has {said[key]:g}: it will see otherwise"
