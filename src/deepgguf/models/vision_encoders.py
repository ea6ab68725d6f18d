"""The two vision encoders of DeepSeek-OCR, SAM and CLIP, and the projector behind them; SAM is DeepSeek-OCR-2's too.

Shapes: deepencoder.py of deepseek-ai/DeepSeek-OCR (arXiv 2510.18234, section 3.2).
"""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec

from deepgguf.formats.gguf.types import Value
from deepgguf.models.config_schema import NotNegative, Positive
from deepgguf.models.storage import ALWAYS_F32, MATRIX, PATCH, VISION
from deepgguf.models.table import Kind, Output, Row
from deepgguf.models.values import uint32
from deepgguf.tensors.view import Shape, View

# deepencoder.py builds SAM with these, whatever the config says.
SAM_PATCH = 16
SAM_WINDOW = 14
SAM_NECK = 256

_TwoChannels = Annotated[tuple[Positive, ...], msgspec.Meta(min_length=2, max_length=2)]


class ClipConfig(msgspec.Struct, frozen=True):
    """`vision_config.width.clip-l-14-224`. `apart`: queries, keys and values are projected by three matrices."""

    heads: Positive
    image_size: Positive
    layers: Positive
    patch_size: Positive
    width: Positive
    apart: bool = False


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


# What is a matrix to each target; everything else is F32. Ollama: convert/reader.go, Kind. llama.cpp: the matrices of
# the blocks and the projector only (conversion/base.py, MmprojModel).
_OLLAMA = {Kind.MATRIX: VISION, Kind.CONVOLUTION: VISION, Kind.PATCH: VISION}
_LLAMACPP = {Kind.MATRIX: MATRIX, Kind.PATCH: PATCH}


class _Module(NamedTuple):
    """A module's names: in the checkpoint, for Ollama (convert_deepseekocr.go), for llama.cpp (constants.py, V_*)."""

    source: str
    ollama: str
    llamacpp: str

    def row(self, kind: Kind, shape: Shape, source: str, ollama: str, llamacpp: str) -> Row:
        """A tensor of the module, by its names within it."""
        view = View.whole(shape)
        own = Output(f"{self.ollama}{ollama}", view, _OLLAMA.get(kind, ALWAYS_F32))
        theirs = Output(f"{self.llamacpp}{llamacpp}", view, _LLAMACPP.get(kind, ALWAYS_F32), "mmproj")
        return Row(f"{self.source}{source}", kind, shape, {"ollama": (own,), "llama.cpp": (theirs,)})

    def layer(self, kind: Kind, shape: Shape, source: str, ollama: str, llamacpp: str) -> Iterator[Row]:
        """Weights and biases of a layer."""
        yield self.row(kind, shape, f"{source}.weight", f"{ollama}.weight", f"{llamacpp}.weight")
        yield self.row(Kind.BIAS, shape[:1], f"{source}.bias", f"{ollama}.bias", f"{llamacpp}.bias")


def vision_table(v: VisionConfig, hidden_size: int) -> Iterator[Row]:
    """Every tensor of the projector, SAM and CLIP; `hidden_size` is the language model's width."""
    yield _MODEL.row(Kind.VECTOR, (hidden_size,), "image_newline", "image_newline", "image_newline")
    yield from projector_table((hidden_size, v.projector_input))
    yield from sam_table(v.sam, v.image_size)
    yield from _clip(v.clip)


_MODEL = _Module("model.", "mm.", "v.")


def projector_table(shape: tuple[int, int]) -> Iterator[Row]:
    """The projector, of `shape` [width of the language model, features], and what stands between views.

    For llama.cpp view_seperator becomes a matrix of one row, as the engine reads it.
    """
    hidden_size, _ = shape
    separator = _MODEL.row(Kind.VECTOR, (hidden_size,), "view_seperator", "view_seperator", "view_seperator")
    (theirs,) = separator.outputs["llama.cpp"]
    matrix = msgspec.structs.replace(theirs, view=theirs.view.reshaped((1, hidden_size)))
    yield msgspec.structs.replace(separator, outputs={**separator.outputs, "llama.cpp": (matrix,)})
    projector = _Module("model.projector.", "mm.", "mm.model.")
    yield from projector.layer(Kind.MATRIX, shape, "layers", "layers", "fc")


def sam_table(sam: SamConfig, image_size: int) -> Iterator[Row]:
    """Every tensor of SAM and of the convolutions behind it, for pictures of `image_size` pixels a side."""
    at = _Module("model.sam_model.", "s.", "v.sam.")
    grid, (middle, last) = image_size // SAM_PATCH, sam.downsample_channels
    yield at.row(Kind.POSITIONS, (1, grid, grid, sam.width), "pos_embed", "position_embd", "pos_embd.weight")
    patch = (sam.width, 3, SAM_PATCH, SAM_PATCH)
    yield from at.layer(Kind.PATCH, patch, "patch_embed.proj", "patch_embd", "patch_embd")
    for block in range(sam.layers):
        yield from _sam_block(sam, block, grid if block in sam.global_attn_indexes else SAM_WINDOW)
    yield _same(at, "neck.0.weight", (SAM_NECK, sam.width, 1, 1))
    yield from at.layer(Kind.NORM, (SAM_NECK,), "neck.1", "neck.1", "neck.1")
    yield _same(at, "neck.2.weight", (SAM_NECK, SAM_NECK, 3, 3))
    yield from at.layer(Kind.NORM, (SAM_NECK,), "neck.3", "neck.3", "neck.3")
    yield _same(at, "net_2.weight", (middle, SAM_NECK, 3, 3))
    yield _same(at, "net_3.weight", (last, middle, 3, 3))


def _same(module: _Module, name: str, shape: Shape) -> Row:
    """A convolution with the same name everywhere."""
    return module.row(Kind.CONVOLUTION, shape, name, name, name)


def _sam_block(sam: SamConfig, block: int, window: int) -> Iterator[Row]:
    at, width = _Module(f"model.sam_model.blocks.{block}.", f"s.blk.{block}.", f"v.sam.blk.{block}."), sam.width
    relative = (2 * window - 1, width // sam.heads)
    yield from at.layer(Kind.NORM, (width,), "norm1", "norm1", "pre_ln")
    yield at.row(Kind.POSITIONS, relative, "attn.rel_pos_h", "attn.rel_pos_h", "attn.pos_h.weight")
    yield at.row(Kind.POSITIONS, relative, "attn.rel_pos_w", "attn.rel_pos_w", "attn.pos_w.weight")
    yield from at.layer(Kind.MATRIX, (3 * width, width), "attn.qkv", "attn.qkv", "attn.qkv")
    yield from at.layer(Kind.MATRIX, (width, width), "attn.proj", "attn.proj", "attn.out")
    yield from at.layer(Kind.NORM, (width,), "norm2", "norm2", "post_ln")
    yield from at.layer(Kind.MATRIX, (4 * width, width), "mlp.lin1", "mlp.lin1", "mlp.lin1")
    yield from at.layer(Kind.MATRIX, (width, 4 * width), "mlp.lin2", "mlp.lin2", "mlp.lin2")


def _clip(clip: ClipConfig) -> Iterator[Row]:
    at, width = _Module("model.vision_model.", "v.", "v."), clip.width
    positions = (clip.image_size // clip.patch_size) ** 2 + 1
    yield at.row(Kind.VECTOR, (width,), "embeddings.class_embedding", "class_embd", "class_embd")
    patch = (width, 3, clip.patch_size, clip.patch_size)
    yield at.row(Kind.CONVOLUTION, patch, "embeddings.patch_embedding.weight", "patch_embd.weight", "patch_embd.weight")
    table, name = (positions, width), "position_embd.weight"
    yield at.row(Kind.POSITIONS, table, "embeddings.position_embedding.weight", name, name)
    yield from at.layer(Kind.NORM, (width,), "pre_layrnorm", "pre_layrnorm", "pre_ln")
    for block in range(clip.layers):
        yield from _clip_block(width, block, apart=clip.apart)


def _clip_block(width: int, block: int, *, apart: bool) -> Iterator[Row]:
    at = _Module(f"model.vision_model.transformer.layers.{block}.", f"v.blk.{block}.", f"v.blk.{block}.")
    yield from at.layer(Kind.NORM, (width,), "layer_norm1", "layer_norm1", "ln1")
    rows, source, members = (width, "{}_proj", ("q", "k", "v")) if apart else (3 * width, "qkv_proj", ())
    for row in at.layer(Kind.MATRIX, (rows, width), f"self_attn.{source}", "self_attn.qkv_proj", "attn_qkv"):
        yield msgspec.structs.replace(row, members=members)
    yield from at.layer(Kind.MATRIX, (width, width), "self_attn.out_proj", "self_attn.out_proj", "attn_out")
    yield from at.layer(Kind.NORM, (width,), "layer_norm2", "layer_norm2", "ln2")
    yield from at.layer(Kind.MATRIX, (4 * width, width), "mlp.fc1", "mlp.fc1", "ffn_up")
    yield from at.layer(Kind.MATRIX, (width, 4 * width), "mlp.fc2", "mlp.fc2", "ffn_down")


def sam_keys(sam: SamConfig) -> dict[str, Value | None]:
    """What clip.cpp reads of SAM, without "clip." before it."""
    return {
        "vision.sam.block_count": uint32(sam.layers),
        "vision.sam.embedding_length": uint32(sam.width),
        "vision.sam.head_count": uint32(sam.heads),
    }


def sam_limits(sam: SamConfig) -> tuple[str, ...]:
    """clip.cpp builds SAM with 12 blocks, whatever the file says."""
    return () if sam.layers == 12 else (f"llama.cpp builds SAM with 12 blocks; this one has {sam.layers}",)
