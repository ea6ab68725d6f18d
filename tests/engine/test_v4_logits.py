"""DeepSeek-V4 and V3.2 in the engine, against the log-probabilities of the original models."""

import pytest

from deepgguf import convert
from engine import distance, golden, log_probabilities

# The weights' own rounding (Q8_0 of FP8; the engine's activations in BF16) and the engine's cache in F16. Measured:
# 0.111, 0.104, 0.075, 0.028, 0.028; any wrong key moves them by more than 1.
BOUNDS = {"v4": 0.12, "v4-dspark": 0.12, "v4-base": 0.08, "v4-bf16": 0.03, "v4-hf": 0.03}


@pytest.mark.parametrize("name", BOUNDS)
def test_log_probabilities_are_those_of_the_original_model(name, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target="llama.cpp")
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden(name)) < BOUNDS[name]


# What is left is the cache in F16: 0.002.
@pytest.mark.parametrize("name", ["v4", "v4-base"])
def test_without_rounding_they_are_the_models(name, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target="llama.cpp", type="f32")
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden(name)) < 0.005


# Measured: 5e-6 at most, which is what sums in another order differ by.
@pytest.mark.parametrize("name", ["v4", "v4-dspark", "v4-base", "v4-bf16", "v4-hf", "v32-fp8", "v32-bf16"])
def test_with_a_cache_in_f32_nothing_is_left_of_the_difference(name, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target="llama.cpp", type="f32")
    assert distance(log_probabilities(tmp_path / "model.gguf", exact=True), golden(name)) < 1e-4
