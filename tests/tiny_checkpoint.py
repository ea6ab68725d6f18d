"""Checkpoints of a few kilobytes with any name, dtype, shape and bytes, for tests of a single rule."""

import json
import math
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepgguf.samples.make import TOKENIZER_FILES, TOKENIZERS
from deepgguf.samples.recipe import elements
from deepgguf.samples.tensors import tensors_of

NUMPY = {"F32": "<f4", "F16": "<f2", "I64": "<i8"}

V3: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "vocab_size": 520,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
}
V2: dict[str, Any] = V3 | {
    "architectures": ["DeepseekV2ForCausalLM"],
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
    "q_lora_rank": None,
}
OCR: dict[str, Any] = {
    "architectures": ["DeepseekOCRForCausalLM"],
    "language_config": {key: value for key, value in V2.items() if key != "architectures"}
    | {
        "n_routed_experts": 3,
        "n_shared_experts": 2,
        "use_mla": False,
        "kv_lora_rank": None,
        "qk_nope_head_dim": 0,
        "qk_rope_head_dim": 0,
        "v_head_dim": 0,
    },
    "vision_config": {
        "image_size": 32,
        "width": {
            "clip-l-14-224": {"heads": 2, "image_size": 28, "layers": 1, "patch_size": 14, "width": 8},
            "sam_vit_b": {
                "downsample_channels": [4, 8],
                "global_attn_indexes": [1],
                "heads": 2,
                "layers": 2,
                "width": 8,
            },
        },
    },
}
YARN = {
    "type": "yarn",
    "factor": 40,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}


class Stored(NamedTuple):
    """A tensor as a safetensors file holds it; `shape` is row-major."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


Tensors = dict[str, Stored]


def stored(array: Any, dtype: str) -> Stored:
    """Numbers as a tensor of `dtype`; for BF16 they must be exact in it."""
    numbers = np.asarray(array, "<i8" if dtype == "I64" else "<f4")
    if dtype == "BF16":
        return Stored(dtype, numbers.shape, (numbers.view("<u4") >> 16).astype("<u2").tobytes())
    return Stored(dtype, numbers.shape, numbers.astype(NUMPY[dtype]).tobytes())


def floats(tensor: Stored) -> np.ndarray:
    """The numbers of an F32, F16 or BF16 tensor."""
    if tensor.dtype == "BF16":
        return (np.frombuffer(tensor.data, "<u2").astype("<u4") << 16).view("<f4").reshape(tensor.shape)
    return np.frombuffer(tensor.data, NUMPY[tensor.dtype]).astype("<f4").reshape(tensor.shape)


def weights(config: Mapping[str, Any], dtype: str | None = None) -> dict[str, Stored]:
    """Made-up weights for every tensor that a checkpoint with `config` has; all of `dtype`, if one is given."""
    made = {
        t.name: Stored(t.dtype, t.shape, elements(t, 0, math.prod(t.shape)).tobytes()) for t in tensors_of(dict(config))
    }
    return made if dtype is None else {name: stored(floats(t), dtype) for name, t in made.items()}


def without(config: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def write_checkpoint(
    folder: Path,
    config: Mapping[str, Any],
    *shards: Mapping[str, Stored],
    tokenizer: str = "sample-v3",
    files: Mapping[str, Any] | None = None,
) -> Path:
    """A checkpoint in the new `folder`. `files`: more files, or changed ones, as JSON, or as text if they are str."""
    folder.mkdir(parents=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(TOKENIZERS / tokenizer / name, folder / name)
    for name, content in {"config.json": dict(config), **(files or {})}.items():
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        (folder / name).write_text(text, encoding="utf-8")
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        write_safetensors(folder / name, tensors)
    return folder


def write_safetensors(path: Path, tensors: Mapping[str, Stored]) -> None:
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t.data for t in tensors.values()))


def read_tensors(folder: Path) -> Tensors:
    """All tensors of all shards."""
    tensors: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw = path.read_bytes()
        start = 8 + struct.unpack("<Q", raw[:8])[0]
        for name, entry in json.loads(raw[8:start]).items():
            if name != "__metadata__":
                first, stop = (start + offset for offset in entry["data_offsets"])
                tensors[name] = Stored(entry["dtype"], tuple(entry["shape"]), raw[first:stop])
    return tensors
