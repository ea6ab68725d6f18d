"""Files for llama.cpp, in the engine, against the log-probabilities of the original model; whole and split."""

import numpy as np
import pytest

from deepgguf import convert
from engine import distance, golden, log_probabilities


# The engine computes BF16 matrices from activations in BF16, the references in float32: 0.003 to 0.02.
@pytest.mark.parametrize("name", ["v3-bf16", "v3-fp8", "v2-lite", "v32-fp8", "v32-bf16"])
def test_log_probabilities_are_those_of_the_original_model(name, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target="llama.cpp")
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden(name)) < 0.02


# This reference is the engine's own: only the order of its sums may differ, 1e-6.
def test_log_probabilities_of_the_ocr_language_model_are_those_of_the_reference_conversion(checkpoint, tmp_path):
    convert(checkpoint("ocr"), tmp_path / "model.gguf", target="llama.cpp", only="text")
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden("ocr-text")) < 0.001


@pytest.mark.parametrize(("limit", "parts"), [({"split_max_size": 2_000_000}, 5), ({"split_max_tensors": 16}, 4)])
def test_a_split_set_gives_the_log_probabilities_of_the_whole_file(limit, parts, checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path / "whole.gguf", target="llama.cpp")
    report = convert(checkpoint("v3-bf16"), tmp_path / "split.gguf", target="llama.cpp", **limit)
    assert len(report.files) == parts
    whole = log_probabilities(tmp_path / "whole.gguf")
    assert np.array_equal(log_probabilities(report.files[0].path), whole)
