"""Copies of a checkpoint whose weights are the same and whose names and cuts are another tool's."""

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tiny_checkpoint import Stored, Tensors, read_tensors, write_safetensors

BYTES = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1}
EXPERT = re.compile(r"(.*\.mlp)\.experts\.(\d+)\.(gate|up|down)_proj\.weight(.*)")


def respelled(source: Path, parent: Path, spell: Callable[[Tensors], Tensors]) -> Path:
    """A copy of `source`, called as it is, with other tensors in one shard."""
    folder = parent / source.name
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.index.json"))
    write_safetensors(folder / "model.safetensors", spell(read_tensors(source)))
    return folder


def with_config(folder: Path, change: Callable[[dict], dict]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return folder


def named(change: Callable[[str], str]) -> Callable[[Tensors], Tensors]:
    """Other names for the same tensors."""
    return lambda tensors: {change(name): tensor for name, tensor in tensors.items()}


def fused(tensors: Tensors) -> Tensors:
    """As transformers 5 holds experts: gate_up_proj [E, 2·ff, hidden] and down_proj [E, hidden, ff], no `.weight`."""
    return stacks(tensors, {"gate_up_proj": ("gate", "up"), "down_proj": ("down",)}, "{mlp}.experts.{key}{ending}")


def stacked(tensors: Tensors) -> Tensors:
    """As MLX holds them: gate, up and down, each a stack."""
    keys = {f"{word}_proj": (word,) for word in ("gate", "up", "down")}
    return stacks(tensors, keys, "{mlp}.switch_mlp.{key}.weight{ending}")


def exchanged(tensors: Tensors) -> Tensors:
    """Stacks with rows and columns exchanged, as gpt-oss and Llama 4 have them."""
    turn = re.compile(r".*\.(experts\.(gate_up|down)_proj|switch_mlp\..*)(_scale_inv)?")
    return {name: _turned(t) if turn.fullmatch(name) else t for name, t in tensors.items()}


def stacks(tensors: Tensors, keys: dict[str, tuple[str, ...]], name: str) -> Tensors:
    """The experts of every layer put together under each key, whose words lie one after the other by expert."""
    experts: dict[tuple[str, str], dict[tuple[int, str], Stored]] = {}
    others: Tensors = {}
    for old, tensor in tensors.items():
        if m := EXPERT.fullmatch(old):
            experts.setdefault((m[1], m[4]), {})[int(m[2]), m[3]] = tensor
        else:
            others[old] = tensor
    for (mlp, ending), parts in experts.items():
        count = 1 + max(expert for expert, _ in parts)
        for key, words in keys.items():
            run = [parts[expert, word] for expert in range(count) for word in words]
            rows, cols = run[0].shape
            data = b"".join(tensor.data for tensor in run)
            stack = Stored(run[0].dtype, (count, rows * len(words), cols), data)
            others[name.format(mlp=mlp, key=key, ending=ending)] = stack
    return others


def _turned(tensor: Stored) -> Stored:
    experts, rows, cols = tensor.shape
    size = len(tensor.data) // math.prod(tensor.shape)
    turned = np.frombuffer(tensor.data, f"V{size}").reshape(tensor.shape).transpose(0, 2, 1)
    return Stored(tensor.dtype, (experts, cols, rows), turned.tobytes())
