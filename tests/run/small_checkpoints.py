"""Checkpoints of some 100 KB with every kind of tensor, so that hundreds of conversions take seconds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from deepgguf.samples import configs
from deepgguf.samples.make import TOKENIZER_FILES, TOKENIZERS
from deepgguf.samples.shards import split
from deepgguf.samples.tensors import tensors_of

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_nextn_predict_layers": 0,
    "n_routed_experts": 3,
    "n_group": 1,
    "topk_group": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
SMALL_MLA = {"q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8}


def small_v3(folder: Path) -> Path:
    """DeepSeek-V3 with two layers, 32 wide."""
    config = configs.config("v3", "sample") | SMALL | SMALL_MLA
    return _write(folder, config)


def medium_v3(folder: Path, layers: int = 9) -> Path:
    """DeepSeek-V3 of 1.1 GB, for runs that last seconds, and so have records in their journal when they are killed."""
    sizes = {"hidden_size": 512, "moe_intermediate_size": 512, "num_hidden_layers": layers, "n_routed_experts": 88}
    config = configs.config("v3", "sample") | SMALL | SMALL_MLA | sizes
    return _write(folder, config)


def small_ocr(folder: Path) -> Path:
    """DeepSeek-OCR with two layers of the language model and one of each encoder."""
    config = configs.config("ocr", "sample")
    config["language_config"] = config["language_config"] | SMALL
    vision = config["vision_config"]
    width = {
        "clip-l-14-224": vision["width"]["clip-l-14-224"] | {"layers": 1, "width": 32, "heads": 2},
        "sam_vit_b": vision["width"]["sam_vit_b"]
        | {"layers": 1, "width": 32, "heads": 2, "downsample_channels": [8, 8], "global_attn_indexes": []},
    }
    config["vision_config"] = vision | {"width": width}
    return _write(folder, config)


def _write(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir()
    for name in TOKENIZER_FILES:
        shutil.copyfile(TOKENIZERS / "sample-v3" / name, folder / name)
    (folder / "config.json").write_text(json.dumps(config))
    (shard,) = split(list(tensors_of(config)), 1)
    numbers = np.random.default_rng(1)
    with (folder / shard.file).open("wb") as file:
        file.write(shard.header)
        for tensor, _ in shard.placed():
            values = numbers.standard_normal(tensor.count, np.float32)
            file.write(values.tobytes() if tensor.item_bytes == 4 else values.view(np.uint16)[1::2].tobytes())
    return folder
