"""The tensors of the samples of DeepSeek-OCR-2 and Unlimited-OCR, released and as transformers writes them."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from deepgguf.models import find_family
from deepgguf.models.deepseek_ocr2 import Ocr2Config
from deepgguf.samples.deepseek_v4 import Renamed
from deepgguf.samples.ocr_family_configs import JSON, MLP
from deepgguf.samples.recipe import elements
from deepgguf.samples.tensors import Own, SampleTensor, by_expert, fill_of

Elements = npt.NDArray[Any]

# What only the released code has a module for.
_UNUSED = "model.vision_model.embeddings.patch_embedding.weight"
_EXPERT = re.compile(r"(.*\.mlp\.experts)\.\d+\.(gate|up|down)_proj\.weight")

# The release's names to those of transformers' modules; the first pattern that matches counts.
_NAMES = (
    (r"model\.sam_model\.blocks\.(\d+)\.norm([12])\.", r"model.vision_tower.sam_encoder.layers.\1.layer_norm\2."),
    (r"model\.sam_model\.blocks\.", "model.vision_tower.sam_encoder.layers."),
    (r"model\.sam_model\.patch_embed\.proj\.", "model.vision_tower.sam_encoder.patch_embed.projection."),
    (r"model\.sam_model\.neck\.0\.", "model.vision_tower.sam_encoder.neck.conv1."),
    (r"model\.sam_model\.neck\.1\.", "model.vision_tower.sam_encoder.neck.layer_norm1."),
    (r"model\.sam_model\.neck\.2\.", "model.vision_tower.sam_encoder.neck.conv2."),
    (r"model\.sam_model\.neck\.3\.", "model.vision_tower.sam_encoder.neck.layer_norm2."),
    (r"model\.sam_model\.net_([23])\.", lambda m: f"model.vision_tower.sam_encoder.proj.conv{int(m[1]) - 1}."),
    (r"model\.sam_model\.", "model.vision_tower.sam_encoder."),
    (r"model\.qwen2_model\.model\.model\.", "model.vision_tower.vision_encoder."),
    (r"model\.qwen2_model\.query_(\d+)\.", r"model.vision_tower.query_\1_resolution."),
    (r"model\.vision_model\.transformer\.", "model.vision_tower.vision_encoder.encoder."),
    (r"model\.vision_model\.", "model.vision_tower.vision_encoder."),
    (r"model\.projector\.layers\.", "model.multi_modal_projector."),
    (r"model\.view_seperator", "model.view_separator"),
    (r"(model\.image_newline|lm_head\.)", r"\1"),
    (r"model\.", "model.language_model."),
)


class Rows(Own, frozen=True):
    """The numbers of other tensors, one after the other, from number `first` on."""

    parts: tuple[SampleTensor, ...]
    first: int = 0

    def elements(self, name: str, seed: int, start: int, stop: int) -> Elements:
        """Theirs, by their own names."""
        found, at = [], -self.first
        for part in self.parts:
            first, last = max(0, start - at), min(part.count, stop - at)
            if first < last:
                found.append(elements(part, first, last))
            at += part.count
        return np.concatenate(found)


def ocr_tensors(kind: str, content: JSON) -> list[SampleTensor]:
    """All tensors of a checkpoint of this kind; `content` is the released config.json."""
    family = find_family(content, "config.json")
    config = family.parse(content, "config.json")
    if isinstance(config, Ocr2Config):
        config = msgspec.structs.replace(config, encoder=msgspec.structs.replace(config.encoder, mlp=MLP))
    rows = [*family.table(config, 0)]
    found = [SampleTensor(name, row.shape, fill_of(row)) for row, name in by_expert(rows)]
    if kind.endswith("-resaved"):
        return list(_resaved(found))
    return list(_of_modules(list(_resaved(found)))) if kind.endswith("-hf") else found


def _resaved(tensors: Sequence[SampleTensor]) -> Iterator[SampleTensor]:
    """The router is kept in F32."""
    for tensor in tensors:
        if tensor.name.endswith(".mlp.gate.weight"):
            yield SampleTensor(tensor.name, tensor.shape, Renamed("F32", tensor))
        elif tensor.name != _UNUSED:
            yield tensor


def _of_modules(tensors: Sequence[SampleTensor]) -> Iterator[SampleTensor]:
    """Other names, CLIP's queries, keys and values apart; experts stacked, after all others."""
    stacks: dict[str, dict[str, list[SampleTensor]]] = {}
    for tensor in tensors:
        expert = _EXPERT.fullmatch(tensor.name)
        if expert:
            stack = "down_proj" if expert[2] == "down" else "gate_up_proj"
            stacks.setdefault(expert[1], {}).setdefault(stack, []).append(tensor)
        elif ".self_attn.qkv_proj." in tensor.name:
            yield from _apart(tensor)
        else:
            yield SampleTensor(_name(tensor.name), tensor.shape, Rows(tensor.dtype, (tensor,)))
    for layer, members in stacks.items():
        for stack, parts in members.items():
            each = 2 if stack == "gate_up_proj" else 1
            rows, cols = parts[0].shape
            shape = (len(parts) // each, each * rows, cols)
            yield SampleTensor(f"{_name(layer)}.{stack}", shape, Rows("BF16", tuple(parts)))


def _apart(tensor: SampleTensor) -> Iterator[SampleTensor]:
    rows = tensor.shape[0] // 3
    for nth, word in enumerate("qkv"):
        name = _name(tensor.name.replace("qkv_proj", f"{word}_proj"))
        yield SampleTensor(name, (rows, *tensor.shape[1:]), Rows("BF16", (tensor,), nth * tensor.count // 3))


def _name(name: str) -> str:
    for pattern, new in _NAMES:
        found, count = re.subn(f"^{pattern}", new, name)
        if count:
            return found
    return name
