"""Files for Ollama, in the engine, against the log-probabilities of the original model."""

from pathlib import Path

import msgspec
import pytest

from deepgguf import convert, plan
from deepgguf.planning.sized_file import sized_file
from engine import distance, golden, log_probabilities
from golden_samples import GROUP_KEYS

# The engine computes BF16 matrices from activations in BF16, the references in float32: 0.005 to 0.008.
BOUND = 0.02


@pytest.mark.parametrize("name", ["v3-bf16", "v3-fp8", "v2-lite"])
def test_log_probabilities_are_those_of_the_original_model(name, checkpoint, tmp_path):
    convert(checkpoint(name), tmp_path / "model.gguf", target="ollama")
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden(name)) < BOUND


def test_without_the_expert_groups_tokens_go_to_the_wrong_experts(checkpoint, tmp_path: Path):
    made = plan(checkpoint("v3-bf16"), tmp_path / "model.gguf", target="ollama")
    (file,) = made.files
    keys = {name: value for name, value in file.keys.items() if name not in GROUP_KEYS}
    assert len(keys) == len(file.keys) - len(GROUP_KEYS)
    ungrouped = sized_file(file.name, file.kind, keys, file.tensors)
    msgspec.structs.replace(made, files=(ungrouped,)).run()
    assert distance(log_probabilities(tmp_path / "model.gguf"), golden("v3-bf16")) > 0.5
