"""The bytes of a file do not depend on how large its pieces are.

In the real DeepSeek-V3 every large matrix is cut by rows, within blocks of FP8 scales and within experts; with the default size
of a piece no tensor of the samples is.
"""

from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

import deepgguf
from deepgguf.planning.pieces import cut
from deepgguf.planning.schema import PIECE_WEIGHTS
from golden import GOLDENS

TINY, ODD = 512, 77_777  # two rows of the samples' matrices; several rows, and no whole number of FP8 blocks
SAMPLES = ("v3-bf16", "v3-fp8", "v3-tied", "v2-lite", "ocr")
MATRICES = ("v3-bf16", "v2-lite", "ocr")
CASES = [
    *((name, type, None) for name in SAMPLES for type in ("auto", "q8_0", "q4_k_m")),
    *((name, "q4_k_m", GOLDENS / "imatrix" / f"imatrix-{name}.gguf") for name in MATRICES),
]


def hashes(source: Path, folder: Path, piece_weights: int, **choices: object) -> dict[str, str]:
    """The SHA-256 of every file that a conversion with pieces of that size makes."""
    folder.mkdir()
    plan = msgspec.structs.replace(deepgguf.plan(source, folder / "x.gguf", **choices), piece_weights=piece_weights)
    report = plan.run(jobs=2)
    found = {file.path.name: sha256(file.path.read_bytes()).hexdigest() for file in report.files}
    for file in report.files:
        file.path.unlink()
    return found


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize(
    ("name", "type", "imatrix"), [pytest.param(*c, id=f"{c[0]}-{c[1]}{'-importance' if c[2] else ''}") for c in CASES]
)
def test_tiny_odd_and_default_pieces_give_the_same_bytes(checkpoint, tmp_path, name, type, imatrix, target):
    choices = {"type": type, "target": target, "imatrix": imatrix}
    expected = hashes(checkpoint(name), tmp_path / "default", PIECE_WEIGHTS, **choices)
    for size in (TINY, ODD):
        assert hashes(checkpoint(name), tmp_path / f"{size}", size, **choices) == expected


def test_tiny_pieces_cut_a_matrix_within_a_block_of_fp8_scales(checkpoint):
    plan = deepgguf.plan(checkpoint("v3-fp8"))
    tensor = next(t for t in plan.files[0].tensors if t.info.name == "blk.0.ffn_up.weight")
    assert cut(tensor, TINY).rows == 2
