"""Files below four bits in the engine: it loads each, reads every weight as it decodes, and answers near the model.

That the bytes are llama-quantize's, tests/test_option_goldens.py shows; so then are the answers.
"""

from pathlib import Path

import gguf
import numpy as np
import pytest

from deepgguf import convert
from deepgguf.formats.gguf.types import GGMLType
from engine import golden, log_probabilities
from golden import GOLDENS, teach_newer_types
from planting import decode

# How far the log-probabilities are from the original model's, root mean square. Measured on v3-bf16 and v2-lite; all
# tokens equally probable would be at 0.33 and 0.34, as random weights of so few bits almost are.
BOUNDS = {
    "iq1_s": 0.37,  # 0.33, 0.27
    "iq1_m": 0.36,  # 0.32, 0.26
    "iq2_xxs": 0.34,  # 0.30, 0.24
    "iq2_xs": 0.31,  # 0.27, 0.24
    "iq2_s": 0.29,  # 0.26, 0.22
    "iq2_m": 0.27,  # 0.24, 0.18
    "iq3_xxs": 0.23,  # 0.20, 0.15
    "iq3_xs": 0.24,  # 0.21, 0.12
    "iq3_s": 0.22,  # 0.19, 0.12
    "iq3_m": 0.21,  # 0.18, 0.12
    "tq1_0": 0.38,  # 0.34, 0.31
    "tq2_0": 0.38,  # 0.34, 0.31
    "q2_0": 0.41,  # 0.37, 0.37
}
OF_EXPERTS = {"nvfp4": 0.1, "q1_0": 0.23}  # with all else at q8_0: 0.07, 0.19; v2-lite's rows fit neither

# From the answers with the decoded weights as F32: at most 0.018. The engine rounds activations to eight bits where weights
# have few; where that takes a token to another expert, its position is far off, so this is the median of positions.
AS_DECODED = 0.025


@pytest.mark.parametrize("name", ["v3-bf16", "v2-lite"])
@pytest.mark.parametrize("type", BOUNDS)
def test_a_mixture_below_four_bits_answers_as_its_decoded_weights_do(type, name, checkpoint, tmp_path):
    check(checkpoint(name), tmp_path, name, BOUNDS[type], type=type)


@pytest.mark.parametrize("type", OF_EXPERTS)
def test_experts_of_a_type_without_a_mixture_answer_as_their_decoded_weights_do(type, checkpoint, tmp_path):
    check(checkpoint("v3-bf16"), tmp_path, "v3-bf16", OF_EXPERTS[type], type="q8_0", tensor_types=f"_exps={type}")


def check(source: Path, folder: Path, name: str, bound: float, **choices) -> None:
    matrix = GOLDENS / "imatrix" / f"imatrix-{name}.gguf"
    convert(source, folder / "coded.gguf", target="llama.cpp", imatrix=matrix, **choices)
    convert(source, folder / "plain.gguf", target="llama.cpp", type="f32")
    decode_into(folder / "plain.gguf", folder / "coded.gguf")
    coded, plain = log_probabilities(folder / "coded.gguf"), log_probabilities(folder / "plain.gguf")
    assert np.median(np.sqrt(np.square(coded - plain).mean(axis=1))) < AS_DECODED
    assert np.sqrt(np.square(coded - golden(name)).mean()) < bound


def decode_into(plain: Path, coded: Path) -> None:
    """Gives the tensors of the F32 file `plain` the values of those of `coded`."""
    teach_newer_types()
    given = {tensor.name: tensor for tensor in gguf.GGUFReader(coded).tensors}
    for tensor in gguf.GGUFReader(plain, "r+").tensors:
        type, cols = GGMLType(int(given[tensor.name].tensor_type)), int(tensor.shape[0])
        data = np.ascontiguousarray(given[tensor.name].data)
        rows = data.view(np.uint8).reshape(-1, data.nbytes * cols // int(tensor.n_elements))
        tensor.data[:] = decode(type, rows, cols).reshape(tensor.data.shape)
