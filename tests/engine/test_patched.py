"""What Ollama's own conversion lacks, patched in: the engine computes what the original model computes."""

from test_ollama_layout import BOUND

from deepgguf import patch
from engine import distance, golden, log_probabilities


def test_patched_with_the_groups_of_experts_it_computes_what_the_original_does(ollamas, checkpoint, tmp_path):
    patch(ollamas, tmp_path / "model.gguf", checkpoint=checkpoint("v3-bf16"))
    assert distance(log_probabilities(ollamas), golden("v3-bf16")) > 0.5
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden("v3-bf16")) < BOUND


def test_patched_to_latent_attention_too_it_computes_what_the_original_does(ollamas, checkpoint, tmp_path):
    patch(ollamas, tmp_path / "model.gguf", checkpoint=checkpoint("v3-bf16"), split_kv_b=True)
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden("v3-bf16")) < BOUND
