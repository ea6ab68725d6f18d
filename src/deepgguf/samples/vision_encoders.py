"""The tensors of DeepSeek-OCR's vision side: projector, SAM, CLIP, in this order.

Names and shapes: `deepencoder.py` and `modeling_deepseekocr.py` as published with DeepSeek-OCR.
"""

from collections.abc import Iterator

import msgspec

from deepgguf.samples.tensors import Fill, SampleTensor

SAM_PATCH = 16
SAM_WINDOW = 14
SAM_NECK = 256


class SamConfig(msgspec.Struct, frozen=True):
    """`vision_config.width.sam_vit_b`."""

    width: int
    layers: int
    heads: int
    global_attn_indexes: tuple[int, ...]
    downsample_channels: tuple[int, int]


class ClipConfig(msgspec.Struct, frozen=True):
    """`vision_config.width.clip-l-14-224`."""

    width: int
    layers: int
    image_size: int
    patch_size: int


class Encoders(msgspec.Struct, frozen=True):
    """`vision_config.width`."""

    sam: SamConfig = msgspec.field(name="sam_vit_b")
    clip: ClipConfig = msgspec.field(name="clip-l-14-224")


class VisionConfig(msgspec.Struct, frozen=True):
    """`vision_config`; `image_size` is SAM's, in pixels."""

    image_size: int
    width: Encoders


def vision_encoders(config: dict[str, object], language_width: int) -> Iterator[SampleTensor]:
    """All tensors besides the language model's, whose hidden size is `language_width`."""
    c = msgspec.convert(config, VisionConfig)
    sam, clip = c.width.sam, c.width.clip
    yield SampleTensor("model.image_newline", (language_width,))
    yield SampleTensor("model.view_seperator", (language_width,))
    yield from _linear("model.projector.layers", language_width, clip.width + sam.downsample_channels[-1])
    yield from _sam("model.sam_model.", sam, c.image_size // SAM_PATCH)
    yield from _clip("model.vision_model.", clip)


def _sam(prefix: str, c: SamConfig, grid: int) -> Iterator[SampleTensor]:
    yield SampleTensor(prefix + "pos_embed", (1, grid, grid, c.width))
    yield SampleTensor(prefix + "patch_embed.proj.weight", (c.width, 3, SAM_PATCH, SAM_PATCH))
    yield SampleTensor(prefix + "patch_embed.proj.bias", (c.width,))
    for i in range(c.layers):
        yield from _sam_block(f"{prefix}blocks.{i}.", c, grid if i in c.global_attn_indexes else SAM_WINDOW)
    yield SampleTensor(prefix + "neck.0.weight", (SAM_NECK, c.width, 1, 1))
    yield from _norm(prefix + "neck.1", SAM_NECK)
    yield SampleTensor(prefix + "neck.2.weight", (SAM_NECK, SAM_NECK, 3, 3))
    yield from _norm(prefix + "neck.3", SAM_NECK)
    first, second = c.downsample_channels
    yield SampleTensor(prefix + "net_2.weight", (first, SAM_NECK, 3, 3))
    yield SampleTensor(prefix + "net_3.weight", (second, first, 3, 3))


def _sam_block(prefix: str, c: SamConfig, window: int) -> Iterator[SampleTensor]:
    yield from _norm(prefix + "norm1", c.width)
    yield SampleTensor(prefix + "attn.rel_pos_h", (2 * window - 1, c.width // c.heads))
    yield SampleTensor(prefix + "attn.rel_pos_w", (2 * window - 1, c.width // c.heads))
    yield from _linear(prefix + "attn.qkv", 3 * c.width, c.width)
    yield from _linear(prefix + "attn.proj", c.width, c.width)
    yield from _norm(prefix + "norm2", c.width)
    yield from _linear(prefix + "mlp.lin1", 4 * c.width, c.width)
    yield from _linear(prefix + "mlp.lin2", c.width, 4 * c.width)


def _clip(prefix: str, c: ClipConfig) -> Iterator[SampleTensor]:
    positions = (c.image_size // c.patch_size) ** 2 + 1
    yield SampleTensor(prefix + "embeddings.class_embedding", (c.width,))
    yield SampleTensor(prefix + "embeddings.patch_embedding.weight", (c.width, 3, c.patch_size, c.patch_size))
    yield SampleTensor(prefix + "embeddings.position_embedding.weight", (positions, c.width))
    yield from _norm(prefix + "pre_layrnorm", c.width)
    for i in range(c.layers):
        yield from _clip_block(f"{prefix}transformer.layers.{i}.", c.width)


def _clip_block(prefix: str, width: int) -> Iterator[SampleTensor]:
    yield from _norm(prefix + "layer_norm1", width)
    yield from _linear(prefix + "self_attn.qkv_proj", 3 * width, width)
    yield from _linear(prefix + "self_attn.out_proj", width, width)
    yield from _norm(prefix + "layer_norm2", width)
    yield from _linear(prefix + "mlp.fc1", 4 * width, width)
    yield from _linear(prefix + "mlp.fc2", width, 4 * width)


def _linear(name: str, rows: int, columns: int) -> Iterator[SampleTensor]:
    yield SampleTensor(name + ".weight", (rows, columns))
    yield SampleTensor(name + ".bias", (rows,))


def _norm(name: str, width: int) -> Iterator[SampleTensor]:
    yield SampleTensor(name + ".weight", (width,), Fill.NORM)
    yield SampleTensor(name + ".bias", (width,))
