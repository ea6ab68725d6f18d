"""The tensors that October's llama-quantize makes otherwise than August's, of which the goldens are: IQ1_M only."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from ggml import ggml_quantize, quantized_by
from gguf import GGUFReader
from numpy.typing import NDArray
from ours import quantize

from deepgguf import convert
from deepgguf.checkpoint.importance import read_importance
from deepgguf.formats.gguf.types import GGMLType
from golden import GOLDENS
from quantize_runs import OCTOBERS

IQ1_M = GGMLType.IQ1_M
AUGUSTS = {
    ("v3-bf16", "blk.0.ffn_down.weight"): "377f4adc9d495e132ae62497cc06fb0d54d9c1a0684e80fa8fdfd132af5ff3c3",
    ("v2-lite", "blk.0.ffn_gate.weight"): "8f824aedf18427b474c1b922ff3b3114baf1d8a247e09ecd059aed19c6d7bcd4",
    ("v2-lite", "blk.18.ffn_gate_shexp.weight"): "e8a11415cc42577806a9b85e35db4f635c2649be42ed9cded5d36e05863a2437",
    ("ocr", "blk.1.attn_k.weight"): "dc789bdcc6bf5acdbcdb4bf1af334df1418f9ec6c3d12cb85305cbb403b3e92c",
    **{
        (checkpoint, "output.weight"): "5fa70cab4d6b866a68c97c6723a6c95d6a5e347a245276faf143d2b2874a6e69"
        for checkpoint in ("v3-bf16", "v2-lite", "ocr")
    },
}


def sha256(data: NDArray[np.uint8]) -> str:
    return hashlib.sha256(data.tobytes()).hexdigest()


@pytest.mark.parametrize(("checkpoint_name", "name"), OCTOBERS)
def test_a_tensor_that_changed_since_august_has_octobers_bytes(checkpoint_name, name, checkpoint, tmp_path: Path):
    convert(checkpoint(checkpoint_name), tmp_path / "x.gguf", target="llama.cpp", type="f32", only="text")
    (rows,) = (np.array(t.data) for t in GGUFReader(tmp_path / "x.gguf").tensors if t.name == name)
    matrix = read_importance(GOLDENS / "imatrix" / f"imatrix-{checkpoint_name}.gguf")
    entry = matrix.entries.get(name)
    with matrix.source.files:
        importance = matrix.source.columns(entry.of_rows(rows.shape[1]), 0) if entry else None
    found = {
        "August": sha256(quantized_by("libggml", IQ1_M, rows, importance)),
        "October": sha256(ggml_quantize(IQ1_M, rows, importance)),
        "deepgguf": sha256(quantize(IQ1_M, rows, importance)),
    }
    octobers = OCTOBERS[checkpoint_name, name]
    assert found == {"August": AUGUSTS[checkpoint_name, name], "October": octobers, "deepgguf": octobers}
