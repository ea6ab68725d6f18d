"""Copies of the samples of DeepSeek-V3.2 that goldens were made from: as transformers saves it, with other scales."""

import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from deepgguf.samples.recipe import splitmix64
from tiny_checkpoint import Stored, Tensors, floats, read_tensors, stored, without, write_checkpoint

_MTP = "model.layers.3."
_ROUTER = re.compile(r".*\.mlp\.gate\.weight")
_SEED = 61

# Fields that transformers 5.24 adds.
_ADDED = {
    "dtype": "bfloat16",
    "head_dim": 16,
    "layer_types": ["indexed_attention"] * 3,
    "mlp_bias": False,
    "mlp_layer_types": ["dense", "sparse", "sparse"],
    "output_router_logits": False,
    "pad_token_id": None,
    "qk_head_dim": 48,
    "transformers_version": "5.24.0",
}


def as_transformers_saves(source: Path, folder: Path) -> Path:
    """The sample v32-bf16 read by transformers 5 in BF16 and saved: without its MTP layer, though config.json still
    promises it; routers in F32, the norm of the indexer in BF16; the rotary fields in one object.
    """
    kept = {name: t for name, t in read_tensors(source).items() if not name.startswith(_MTP)}
    content = without(config(source), "torch_dtype") | _ADDED
    rope = {**content.pop("rope_scaling"), "rope_theta": float(content.pop("rope_theta")), "rope_type": "yarn"}
    saved = {name: _as_saved(name, tensor) for name, tensor in kept.items()}
    files = {"generation_config.json": (source / "generation_config.json").read_text()}
    return write_checkpoint(folder, content | {"rope_parameters": rope}, saved, files=files)


def config(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def _as_saved(name: str, tensor: Stored) -> Stored:
    if _ROUTER.fullmatch(name):
        return stored(floats(tensor), "F32")
    if ".indexer.k_norm." in name:
        bits = floats(tensor).view(np.uint32).astype(np.uint64)
        rounded = bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1)) & np.uint64(0xFFFF0000)
        return stored(rounded.astype(np.uint32).view(np.float32), "BF16")
    return tensor


def with_wide_scales(source: Path, folder: Path) -> Path:
    """The sample v32 with scales from 2⁻²⁴ to 2¹⁰."""
    tensors: Tensors = {}
    for name, tensor in read_tensors(source).items():
        tensors[name] = _wide(name, tensor) if name.endswith("_scale_inv") else tensor
    files = {"generation_config.json": (source / "generation_config.json").read_text()}
    return write_checkpoint(folder, config(source), tensors, files=files)


def _wide(name: str, scales: Stored) -> Stored:
    seed = zlib.crc32(name.encode()) ^ (_SEED * 0x9E3779B1 % 2**32)
    random = splitmix64(seed << 32, 0, len(scales.data) // 4)
    exponents = (random >> np.uint64(40)).astype(np.int64) % 35 - 24
    return stored(np.ldexp(np.float32(1), exponents).reshape(scales.shape), "F32")
