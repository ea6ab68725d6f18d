"""The two vision encoders of DeepSeek-OCR, SAM and CLIP, and the projector behind them.

Shapes: deepencoder.py of deepseek-ai/DeepSeek-OCR (arXiv 2510.18234, section 3.2).
"""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from deepgguf.architectures.config_schema import NotNegative, Positive
from deepgguf.architectures.tensors import Component, ExpectedTensor, Role

# deepencoder.py builds SAM with these, whatever the config says.
SAM_PATCH = 16
SAM_WINDOW = 14
SAM_NECK = 256

_TwoChannels = Annotated[tuple[Positive, ...], msgspec.Meta(min_length=2, max_length=2)]


class ClipConfig(msgspec.Struct, frozen=True):
    """`vision_config.width.clip-l-14-224`."""

    heads: Positive
    image_size: Positive
    layers: Positive
    patch_size: Positive
    width: Positive


class SamConfig(msgspec.Struct, frozen=True):
    """`vision_config.width.sam_vit_b`."""

    downsample_channels: _TwoChannels
    global_attn_indexes: tuple[NotNegative, ...]
    heads: Positive
    layers: Positive
    width: Positive


class VisionConfig(msgspec.Struct, frozen=True):
    """What decides the vision part's shapes: the picture's edge in pixels, and both encoders."""

    image_size: Positive
    clip: ClipConfig
    sam: SamConfig

    @property
    def projector_input(self) -> int:
        """Features per position: CLIP's beside SAM's."""
        return self.clip.width + self.sam.downsample_channels[-1]


def vision_tensors(v: VisionConfig, hidden_size: int) -> Iterator[ExpectedTensor]:
    """Every tensor of the projector, SAM and CLIP; `hidden_size` is the language model's width."""
    yield from _projector(v, hidden_size)
    yield from _sam(v)
    yield from _clip(v.clip)


def _tensor(
    component: Component, name: str, kind: str, shape: tuple[int, ...], part: str = "weight", block: int | None = None
) -> ExpectedTensor:
    return ExpectedTensor(f"{name}.{part}" if part else name, Role(component, kind, part, block), shape)


def _with_bias(
    component: Component, name: str, kind: str, shape: tuple[int, ...], block: int | None = None
) -> Iterator[ExpectedTensor]:
    yield _tensor(component, name, kind, shape, "weight", block)
    yield _tensor(component, name, kind, shape[:1], "bias", block)


def _projector(v: VisionConfig, hidden_size: int) -> Iterator[ExpectedTensor]:
    yield _tensor(Component.PROJECTOR, "model.image_newline", "image_newline", (hidden_size,), "")
    yield _tensor(Component.PROJECTOR, "model.view_seperator", "view_seperator", (hidden_size,), "")
    yield from _with_bias(Component.PROJECTOR, "model.projector.layers", "layers", (hidden_size, v.projector_input))


def _sam(v: VisionConfig) -> Iterator[ExpectedTensor]:
    sam, component, p = v.sam, Component.SAM, "model.sam_model."
    grid, (middle, last) = v.image_size // SAM_PATCH, sam.downsample_channels
    yield _tensor(component, f"{p}pos_embed", "position_embd", (1, grid, grid, sam.width), "")
    yield from _with_bias(component, f"{p}patch_embed.proj", "patch_embd", (sam.width, 3, SAM_PATCH, SAM_PATCH))
    for block in range(sam.layers):
        yield from _sam_block(sam, block, grid if block in sam.global_attn_indexes else SAM_WINDOW)
    yield _tensor(component, f"{p}neck.0", "neck.0", (SAM_NECK, sam.width, 1, 1))
    yield from _with_bias(component, f"{p}neck.1", "neck.1", (SAM_NECK,))
    yield _tensor(component, f"{p}neck.2", "neck.2", (SAM_NECK, SAM_NECK, 3, 3))
    yield from _with_bias(component, f"{p}neck.3", "neck.3", (SAM_NECK,))
    yield _tensor(component, f"{p}net_2", "net_2", (middle, SAM_NECK, 3, 3))
    yield _tensor(component, f"{p}net_3", "net_3", (last, middle, 3, 3))


def _sam_block(sam: SamConfig, block: int, window: int) -> Iterator[ExpectedTensor]:
    component, p, width = Component.SAM, f"model.sam_model.blocks.{block}.", sam.width
    relative = (2 * window - 1, width // sam.heads)
    yield from _with_bias(component, f"{p}norm1", "norm1", (width,), block)
    yield _tensor(component, f"{p}attn.rel_pos_h", "attn.rel_pos_h", relative, "", block)
    yield _tensor(component, f"{p}attn.rel_pos_w", "attn.rel_pos_w", relative, "", block)
    yield from _with_bias(component, f"{p}attn.qkv", "attn.qkv", (3 * width, width), block)
    yield from _with_bias(component, f"{p}attn.proj", "attn.proj", (width, width), block)
    yield from _with_bias(component, f"{p}norm2", "norm2", (width,), block)
    yield from _with_bias(component, f"{p}mlp.lin1", "mlp.lin1", (4 * width, width), block)
    yield from _with_bias(component, f"{p}mlp.lin2", "mlp.lin2", (width, 4 * width), block)


def _clip(clip: ClipConfig) -> Iterator[ExpectedTensor]:
    component, p, width = Component.CLIP, "model.vision_model.", clip.width
    positions = (clip.image_size // clip.patch_size) ** 2 + 1
    yield _tensor(component, f"{p}embeddings.class_embedding", "class_embd", (width,), "")
    patch = (width, 3, clip.patch_size, clip.patch_size)
    yield _tensor(component, f"{p}embeddings.patch_embedding", "patch_embd", patch)
    yield _tensor(component, f"{p}embeddings.position_embedding", "position_embd", (positions, width))
    yield from _with_bias(component, f"{p}pre_layrnorm", "pre_layrnorm", (width,))
    for block in range(clip.layers):
        q = f"{p}transformer.layers.{block}."
        yield from _with_bias(component, f"{q}layer_norm1", "layer_norm1", (width,), block)
        yield from _with_bias(component, f"{q}self_attn.qkv_proj", "self_attn.qkv_proj", (3 * width, width), block)
        yield from _with_bias(component, f"{q}self_attn.out_proj", "self_attn.out_proj", (width, width), block)
        yield from _with_bias(component, f"{q}layer_norm2", "layer_norm2", (width,), block)
        yield from _with_bias(component, f"{q}mlp.fc1", "mlp.fc1", (4 * width, width), block)
        yield from _with_bias(component, f"{q}mlp.fc2", "mlp.fc2", (width, 4 * width), block)
