"""What Ollama's own conversion lacks, patched in: the engine computes what the original model computes."""

import pytest
from test_ollama_layout import BOUND, GROUP_KEYS

from deepgguf.api import convert, patch
from engine import distance, golden, log_probabilities


@pytest.fixture(scope="module")
def ollamas(checkpoint, tmp_path_factory):
    """V3 as Ollama 0.30 converts it: without keys for groups of experts (tests/test_patch.py compares it)."""
    folder = tmp_path_factory.mktemp("ollamas")
    convert(checkpoint("v3-bf16"), folder / "all.gguf", target="ollama", jobs=2)
    patch(folder / "all.gguf", folder / "v3.gguf", remove_key=GROUP_KEYS)
    return folder / "v3.gguf"


def test_patched_with_the_groups_of_experts_it_computes_what_the_original_does(ollamas, checkpoint, tmp_path):
    patch(ollamas, tmp_path / "model.gguf", checkpoint=checkpoint("v3-bf16"))
    assert distance(log_probabilities(ollamas), golden("v3-bf16")) > 0.5
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden("v3-bf16")) < BOUND


def test_patched_to_latent_attention_too_it_computes_what_the_original_does(ollamas, checkpoint, tmp_path):
    patch(ollamas, tmp_path / "model.gguf", checkpoint=checkpoint("v3-bf16"), split_kv_b=True)
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden("v3-bf16")) < BOUND
