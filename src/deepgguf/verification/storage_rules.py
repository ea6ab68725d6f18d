"""Which tensors must be F32, whatever type was asked for, and which values of general.file_type are possible.

Ollama: convert/reader.go, Kind. llama.cpp: conversion/base.py, prepare_tensors; for an mmproj everything but the
matrices of the blocks and the projector.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable

from deepgguf.encodings import PLAIN
from deepgguf.formats.gguf.types import GGMLType, TensorInfo

_MMPROJ_MATRIX = re.compile(
    r"mm\.model\.fc\.weight"
    r"|v\.blk\.\d+\.(attn_qkv|attn_out|ffn_up|ffn_down)\.weight"
    r"|v\.sam\.blk\.\d+\.(attn\.qkv|attn\.out|mlp\.lin1|mlp\.lin2)\.weight"
)
_OLLAMA_TABLES = re.compile(r"v\.position_embd\.weight|s\.position_embd|.*rel_pos_[hw]")

# llama.h, enum llama_ftype: what the mixtures of quantized types are called.
_MIXTURES = frozenset({2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 21, 25, 30, 38})
_OF_MOST_WEIGHTS = {GGMLType.F32: 0, GGMLType.F16: 1, GGMLType.BF16: 32}
_OLLAMA_PLAIN = 1


def must_be_f32(architecture: str, tensor: TensorInfo) -> bool:
    """Whether this tensor is F32 in every file of this architecture."""
    name = tensor.name
    if architecture == "clip":
        return not _MMPROJ_MATRIX.fullmatch(name) and name != "v.sam.patch_embd.weight"
    if architecture == "deepseekocr" and _OLLAMA_TABLES.fullmatch(name):
        return True
    return len(tensor.shape) == 1 or name.endswith((".bias", ".ffn_gate_inp.weight"))


def possible_file_types(ollama: bool, tensors: Iterable[TensorInfo]) -> frozenset[int]:
    """The numbers that general.file_type may have, given the tensors' types."""
    weights: Counter[GGMLType] = Counter()
    for tensor in tensors:
        weights[tensor.type] += math.prod(tensor.shape)
    if not PLAIN.issuperset(weights):
        return _MIXTURES
    return frozenset({_OLLAMA_PLAIN if ollama else _OF_MOST_WEIGHTS[weights.most_common(1)[0][0]]})
