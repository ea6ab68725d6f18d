"""DeepSeek-V4 that sees, in the engine: text and mmproj at once. tests/test_goldens_v4.py has the bytes of both."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_picture import ask, picture, prompt_tokens

from deepgguf import convert
from engine import distance, golden, log_probabilities, of_answer, serve
from tiny_checkpoint import read_tensors, stored
from v4 import write_v4

# What the engine makes of a picture of 64 x 48 (mtmd-image.cpp, deepseek4v): enlarged to 147,456 pixels it has 8 rows of
# 11 tokens with a line break each; padding before them so that they begin after 3 of 4 tokens, a begin, and an end.
PICTURE_TOKENS = 1 + 1 + 8 * (11 + 1) + 1


def answers(source: Path, folder: Path) -> list[NDArray[np.float64]]:
    """The log-probabilities about a picture of fine and one of coarse squares, and about none; of freshly made files."""
    folder.mkdir()
    text, mmproj = (file.path for file in convert(source, folder / "v4.gguf", target="llama.cpp").files)
    requests = [ask(picture(8)), ask(picture(16)), ask({"type": "text", "text": ""})]
    made = serve(text, requests, mmproj=mmproj, n_ctx=512)
    tokens = [prompt_tokens(answer) for answer in made]
    assert tokens == [tokens[2] + PICTURE_TOKENS, tokens[2] + PICTURE_TOKENS, tokens[2]]
    return [of_answer(answer) for answer in made]


@pytest.fixture(scope="module")
def seen(checkpoint, tmp_path_factory) -> list[NDArray[np.float64]]:
    return answers(checkpoint("v4-vision"), tmp_path_factory.mktemp("vision") / "x")


def test_the_engine_sees_what_is_in_a_picture(seen):
    fine, coarse, nothing = seen
    assert distance(fine, coarse) > 1
    assert distance(fine, nothing) > 1


def test_pictures_are_routed_by_biases_of_their_own_and_text_is_not(seen, checkpoint, tmp_path):
    tensors = read_tensors(checkpoint("v4-vision"))
    biases = [name for name in tensors if name.startswith("layers.") and name.endswith(".bias_vl")]
    assert len(biases) == 3
    others = dict.fromkeys(biases, stored(np.arange(4.0), "F32"))
    fine, coarse, nothing = answers(write_v4(tmp_path / "v4", "v4-vision", None, tensors | others), tmp_path / "x")
    assert np.array_equal(nothing, seen[2])
    assert distance(fine, seen[0]) > 0.1
    assert distance(coarse, seen[1]) > 0.1


# Its language model is the sample v4-dspark's, but for an epsilon of 1e-20.
def test_text_is_answered_as_by_the_model_that_does_not_see(checkpoint, tmp_path):
    choices = {"target": "llama.cpp", "type": "f32", "only": "text"}
    convert(checkpoint("v4-vision"), tmp_path / "model.gguf", **choices)
    assert distance(log_probabilities(tmp_path / "model.gguf", exact=True), golden("v4-dspark")) < 0.01
