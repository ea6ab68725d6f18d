"""What drafts for DeepSeek-V4 and V3.2, in the engine: it accepts every token of a draft that is right by construction."""

from pathlib import Path

import numpy as np
import pytest

from deepgguf import convert
from deepgguf.samples.configs import config
from engine import TOKENS, serve
from tiny_checkpoint import Stored, Tensors, floats, read_tensors, stored, write_checkpoint
from v4 import v4_weights, write_v4

# What a block adds to its input is the product of one of these.
LAST = ("wo_b.weight", "w2.weight", "o_proj.weight", "down_proj.weight")


def answer(model: Path, draft: Path | None = None, by: str = "MTP") -> tuple[str, int, int]:
    """The text of 24 tokens, how many of them were drafted and taken, how many were drafted."""
    body = {"prompt": list(TOKENS), "max_tokens": 24, "temperature": 0, "ignore_eos": True}
    (found,) = serve(model, [("handle_completions", body)], draft=draft, drafts_by=by)
    timings = found["timings"]
    return found["choices"][0]["text"], timings.get("draft_n_accepted", 0), timings.get("draft_n", 0)


def successors(tensors: Tensors, embedding: str, heads: tuple[str, ...]) -> Tensors:
    """Weights by which every token is followed by the next one of the vocabulary: blocks add nothing to what they are
    given, and heads have in every row the embedding of the token before.
    """
    made = {
        name: Stored(t.dtype, t.shape, bytes(len(t.data))) if name.endswith(LAST) else t for name, t in tensors.items()
    }
    return made | dict.fromkeys(heads, stored(np.roll(floats(tensors[embedding]), 1, axis=0), "BF16"))


def files(source: Path, folder: Path, mtp: str | None = None, *, draft: bool = False) -> Path:
    name = "draft" if draft else mtp or "model"
    choices = {"target": "llama.cpp", "type": "f32", "mtp": mtp, "draft": draft}
    return convert(source, folder / f"{name}.gguf", **choices).files[0].path


def test_every_token_that_the_mtp_layer_of_v4_drafts_is_accepted(tmp_path):
    made = successors(v4_weights("v4"), "embed.weight", ("head.weight",))
    square = made["mtp.0.e_proj.weight"].shape
    projections = {"mtp.0.e_proj.weight": np.eye(*square), "mtp.0.h_proj.weight": np.zeros(square)}
    made = {name: t for name, t in made.items() if not name.endswith(("e_proj.scale", "h_proj.scale"))}
    made |= {name: stored(numbers, "BF16") for name, numbers in projections.items()}
    source = write_v4(tmp_path / "v4", "v4", None, made)
    model, draft = files(source, tmp_path), files(source, tmp_path, "only")
    text, accepted, drafted = answer(model, draft)
    assert text == answer(model)[0]
    assert accepted == drafted > 10


def test_every_token_that_dspark_stages_draft_is_accepted(tmp_path):
    made = successors(v4_weights("v4-dspark"), "embed.weight", ("head.weight",))
    first, second = (f"mtp.2.markov_head.markov_w{n}.weight" for n in (1, 2))
    after = np.random.default_rng(0).choice([-4.0, 4.0], made[first].shape)  # tokens have hardly anything in common
    made |= {first: stored(after, "BF16"), second: stored(np.roll(after, 1, axis=0), "BF16")}
    source = write_v4(tmp_path / "v4", "v4-dspark", None, made)
    model, draft = files(source, tmp_path), files(source, tmp_path, draft=True)
    text, accepted, drafted = answer(model, draft, "DSPARK")
    assert text == answer(model)[0]
    assert accepted == drafted > 10


def test_every_token_that_the_mtp_layer_of_v32_drafts_is_accepted_in_the_models_file_as_in_its_own(
    checkpoint, tmp_path
):
    heads = ("lm_head.weight", "model.layers.3.shared_head.head.weight")
    made = successors(read_tensors(checkpoint("v32-bf16")), "model.embed_tokens.weight", heads)
    made["model.layers.3.embed_tokens.weight"] = made["model.embed_tokens.weight"]
    made["model.layers.3.eh_proj.weight"] = stored(np.eye(256, 512), "BF16")
    source = write_checkpoint(tmp_path / "v32", config("v32-bf16", "sample"), made)
    drop, keep, only = (files(source, tmp_path, mtp) for mtp in ("drop", "keep", "only"))
    text, accepted, drafted = answer(drop)
    assert (accepted, drafted) == (0, 0)
    for model, draft in ((keep, keep), (drop, only)):
        found, accepted, drafted = answer(model, draft)
        assert found == text
        assert accepted == drafted > 10


# Made-up stages draft what the model does not say; that changes no word of it.
@pytest.mark.parametrize("name", ["v4-dspark", "v4-vision"])
def test_stages_that_are_wrong_change_nothing(name, checkpoint, tmp_path):
    model, draft = files(checkpoint(name), tmp_path), files(checkpoint(name), tmp_path, draft=True)
    text, accepted, drafted = answer(model, draft, "DSPARK")
    assert text == answer(model)[0]
    assert accepted < drafted
