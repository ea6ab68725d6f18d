"""Quantized files in the engine: how far their log-probabilities are from the original model's."""

import pytest
from engine import distance, golden, log_probabilities

from deepgguf.api import convert


# TEN positions of 544 log-probabilities.
@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize(("type", "bound"), [("q8_0", 0.06), ("q4_k_m", 0.6)])
def test_log_probabilities_are_near_those_of_the_original_model(type, bound, target, checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path / "model.gguf", target=target, type=type)
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden("v3-bf16")) < bound
