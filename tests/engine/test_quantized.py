"""Quantized files in the engine: how far their log-probabilities are from the original model's."""

from pathlib import Path

import gguf
import numpy as np
import pytest

from deepgguf import convert
from engine import golden, log_probabilities

# Measured: q8_0 0.008, q6_k 0.016, q4_k_m 0.05 and 0.08, q3_k_m 0.15; one wrong tensor 0.2 and more; all tokens equally
# probable 0.33. The mean, because a token at the edge between two experts may change to the other, and then moves far.
BOUNDS = {"q8_0": 0.012, "q4_k_m": 0.15}


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize("type", BOUNDS)
def test_log_probabilities_are_near_those_of_the_original_model(type, target, checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path / "model.gguf", target=target, type=type)
    assert mean_error(tmp_path / "model.gguf") < BOUNDS[type]


@pytest.mark.parametrize("type", BOUNDS)
def test_one_tensor_with_its_rows_in_another_order_is_noticed(type, checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path / "model.gguf", target="ollama", type=type)
    shift_rows(tmp_path / "model.gguf", "blk.2.ffn_up_exps.weight")
    assert mean_error(tmp_path / "model.gguf") > BOUNDS[type]


def test_types_chosen_for_the_bytes_of_a_mixture_are_nearer_to_the_original_model_than_it(checkpoint, tmp_path):
    """Measured: 0.045 instead of 0.079."""
    mixture = convert(checkpoint("v3-bf16"), tmp_path / "mixture.gguf", target="llama.cpp", type="q4_k_m").files[0]
    convert(checkpoint("v3-bf16"), tmp_path / "model.gguf", target="llama.cpp", budget=mixture.size)
    assert (tmp_path / "model.gguf").stat().st_size <= mixture.size
    assert mean_error(tmp_path / "model.gguf") < 0.75 * mean_error(mixture.path)


def mean_error(model: Path) -> float:
    """The root of the mean square of the log-probabilities' errors, over all positions and tokens."""
    errors = log_probabilities(model) - golden("v3-bf16")
    return float(np.sqrt(np.square(errors).mean()))


def shift_rows(model: Path, name: str) -> None:
    """Puts every row of the tensor in the place of the next one, the last in that of the first, expert by expert."""
    (tensor,) = (t for t in gguf.GGUFReader(model, "r+").tensors if t.name == name)
    tensor.data[:] = np.roll(tensor.data, 1, axis=-2)
