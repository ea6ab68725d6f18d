"""A folder for each kind of checkpoint, with all that deepgguf reads: the checkpoint, what was made of it, importance
matrices, and what interrupted runs left. Each has some 20 files of at most 100 kB.
"""

import shutil
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from conversions import Conversion, interrupt_at

import deepgguf
from deepgguf.formats.gguf.encode import encode_header, lay_out
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType
from hub_cache import as_snapshot
from tiny_checkpoint import OCR, V2, V3, YARN, weights, write_checkpoint

LEFT = "left-"  # begins the name of a folder with what an interrupted run left
CARD = "---\nlicense: mit\nbase_model:\n- deepseek-ai/DeepSeek-V3-Base\ntags: [a, b]\nlanguage: en\n---\n# Text\n"
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


class Kind(NamedTuple):
    """A checkpoint's config, into how many shards it is split, and the choices of its conversions."""

    config: dict[str, Any]
    shards: int
    choices: dict[str, Any]


KINDS = {
    "v3": Kind(V3 | {"rope_scaling": YARN}, 1, {"type": "q4_k_m"}),
    "fp8": Kind(V3 | {"quantization_config": FP8}, 2, {}),
    "v2": Kind(V2 | {"eos_token_id": 1, "bos_token_id": 0}, 1, {"split_max_tensors": 12}),
    "ocr": Kind(OCR, 2, {"target": "llama.cpp"}),
    "hub": Kind(V3 | {"tie_word_embeddings": True}, 1, {"type": "f16"}),
}


def make_sound_files(folder: Path) -> dict[str, Path]:
    """The folders in the new `folder`, by kind."""
    return {name: _make(kind, folder / name, in_cache=name == "hub") for name, kind in KINDS.items()}


def _make(kind: Kind, folder: Path, in_cache: bool) -> Path:
    source = _checkpoint(kind, folder / "src")
    if in_cache:
        source = _cached(source)
    deepgguf.convert(source, folder / "plain.gguf", jobs=1)
    deepgguf.convert(source, folder / "done.gguf", jobs=1, **kind.choices)
    deepgguf.convert(source, folder / "q.gguf", jobs=1, type="q8_0")
    _write_importance(folder)
    (folder / "types.txt").write_text("ffn_down=q5_1 attn_.*=q8_0\n")
    (folder / "recipe.toml").write_text('base = "q4_k_m"\n[[tensors]]\ncomponents = ["ffn_down"]\ntype = "q8_0"\n')
    conversion = Conversion(source, kind.choices, {})
    for call in range(6, 66, 5):
        left = folder / f"{LEFT}{call}"
        left.mkdir()
        if not interrupt_at(conversion, left, call) or not any(left.iterdir()):
            shutil.rmtree(left)
    return folder


def _checkpoint(kind: Kind, folder: Path) -> Path:
    tensors = list(weights(kind.config).items())
    shards = [dict(tensors[first :: kind.shards]) for first in range(kind.shards)]
    files: dict[str, Any] = {"README.md": CARD, "chat_template.jinja": "{{ messages }}"}
    files["generation_config.json"] = {"eos_token_id": [1, 2], "bos_token_id": 0, "temperature": 0.3, "top_p": 0.9}
    files["preprocessor_config.json"] = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    if kind.shards > 1:
        places = {
            name: f"model-{number:05d}-of-{kind.shards:05d}.safetensors"
            for number, shard in enumerate(shards, 1)
            for name in shard
        }
        total = sum(len(tensor.data) for _, tensor in tensors)
        files["model.safetensors.index.json"] = {"metadata": {"total_size": total}, "weight_map": places}
    return write_checkpoint(folder, kind.config, *shards, files=files)


def _cached(source: Path) -> Path:
    """`source` in Hugging Face's cache, as its snapshot, which refs/main names."""
    snapshot = as_snapshot(source)
    source.rmdir()
    model = snapshot.parent.parent.rename(source)
    model = model.rename(source.with_name("models--a--b"))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(snapshot.name)
    return model


def _write_importance(folder: Path) -> None:
    """An importance matrix for every matrix of plain.gguf, in both forms."""
    numbers = np.random.default_rng(1)
    tensors: list[tuple[str, tuple[int, ...], np.ndarray]] = []
    entries = []
    for tensor in deepgguf.inspect(folder / "plain.gguf").tensors:
        if len(tensor.shape) < 2 or not tensor.name.endswith(".weight"):
            continue
        columns, stacked = tensor.shape[-1], tensor.shape[0] if len(tensor.shape) > 2 else 1
        sums = numbers.random((stacked, columns), np.float32)
        tensors.append((f"{tensor.name}.in_sum2", sums.shape, sums))
        tensors.append((f"{tensor.name}.counts", (stacked, 1), np.full((stacked, 1), 3, np.float32)))
        name = tensor.name.encode()
        entries.append(struct.pack("<i", len(name)) + name + struct.pack("<ii", 3, sums.size) + sums.tobytes())
    keys = {
        "general.type": Value(ValueType.STRING, "imatrix"),
        "imatrix.datasets": Value(ValueType.ARRAY, ["text.txt"], ValueType.STRING),
        "imatrix.chunk_count": Value(ValueType.UINT32, 3),
        "imatrix.chunk_size": Value(ValueType.UINT32, 512),
    }
    infos = lay_out([(name, GGMLType.F32, shape) for name, shape, _ in tensors])
    header = encode_header(keys, infos)
    content = bytearray(header + bytes(infos[-1].offset + infos[-1].nbytes))
    for info, (_, _, values) in zip(infos, tensors, strict=True):
        start = len(header) + info.offset
        content[start : start + info.nbytes] = values.tobytes()
    (folder / "imatrix.gguf").write_bytes(content)
    (folder / "imatrix.dat").write_bytes(struct.pack("<i", len(entries)) + b"".join(entries) + struct.pack("<i", 3))
