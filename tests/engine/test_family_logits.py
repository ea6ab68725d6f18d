"""DeepSeek-OCR-2, Unlimited-OCR and the Kimi-K2 family in the engine, against the log-probabilities of transformers."""

import pytest

from deepgguf import convert
from engine import TOKENS, distance, golden, log_probabilities

LOGITS = "ocr2kimi/logits"
KIMI = ("kimi-k2", "kimi-k2-thinking", "kimi-k25", "moonlight")


def assert_close(model, name, bound):
    expected = golden(name, LOGITS)
    found = log_probabilities(model, vocabulary=expected.shape[1])
    assert found.shape == (len(TOKENS), expected.shape[1])
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert distance(found, expected) < bound


# Measured: 0.0035 for OCR, 0.005 to 0.010 for Kimi, which is BF16's rounding.
@pytest.mark.parametrize("target", ["llama.cpp", "ollama"])
@pytest.mark.parametrize("name", KIMI)
def test_log_probabilities_of_kimi_are_those_of_the_original_model(name, target, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target=target, only="text")
    assert_close(tmp_path / "model.gguf", name, 0.02)


@pytest.mark.parametrize("name", ["ocr2", "unlimited-ocr"])
def test_log_probabilities_of_the_ocr_language_models_are_those_of_the_original(name, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target="llama.cpp", only="text")
    assert_close(tmp_path / "model.gguf", f"{name}-text", 0.01)


# F16 holds every product of INT4 and its scale.
@pytest.mark.parametrize("name", KIMI)
def test_in_f16_hardly_anything_is_left_of_the_difference(name, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target="llama.cpp", type="f16", only="text")
    assert_close(tmp_path / "model.gguf", name, 0.002)


@pytest.mark.parametrize("name", ["kimi-k2-thinking", "kimi-k25"])
def test_int4_experts_that_are_taken_over_answer_as_the_original(name, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target="llama.cpp", type="source", only="text")
    assert_close(tmp_path / "model.gguf", name, 0.01)
