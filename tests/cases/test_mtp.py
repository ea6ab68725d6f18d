"""F18: layers of multi-token prediction kept in the model, dropped, or in a file of their own, and what the engine does."""

from pathlib import Path

import gguf
import numpy as np
import pytest

import deepgguf
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.samples.configs import config
from deepgguf.terminal.run_command import how_to_run, run_command
from engine import TOKENS, log_probabilities, serve
from tiny_checkpoint import V3, Stored, floats, stored, weights, without, write_checkpoint

NEXTN = {
    "nextn.eh_proj.weight": ("BF16", [512, 256]),
    "nextn.embed_tokens.weight": ("BF16", [256, 544]),
    "nextn.enorm.weight": ("F32", [256]),
    "nextn.hnorm.weight": ("F32", [256]),
    "nextn.shared_head_head.weight": ("BF16", [256, 544]),
    "nextn.shared_head_norm.weight": ("F32", [256]),
}
ROOT = {"token_embd.weight", "output_norm.weight", "output.weight"}
TINY = V3 | {"num_nextn_predict_layers": 1}
MTP = "model.layers.2."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample v3 with an MTP layer that has all its experts."""
    return write_checkpoint(
        tmp_path_factory.mktemp("mtp") / "v3", config("v3", "sample"), weights(config("v3", "sample"))
    )


def converted(source: Path, file: Path, **choices) -> gguf.GGUFReader:
    deepgguf.convert(source, file, **{"target": "llama.cpp", **choices})
    assert deepgguf.compare(file, source, remake=True).differences == ()
    return gguf.GGUFReader(file)


def layers(read: gguf.GGUFReader) -> tuple[int, int | None]:
    """`block_count` and `nextn_predict_layers`."""
    count, nextn = (read.get_field(f"deepseek2.{key}") for key in ("block_count", "nextn_predict_layers"))
    return count.contents(), nextn.contents() if nextn else None


def test_f18_kept_mtp_layers_have_the_names_types_and_keys_of_the_engine(source, tmp_path):
    read = converted(source, tmp_path / "x.gguf", mtp="keep")
    found = {t.name: (t.tensor_type.name, t.shape.tolist()) for t in read.tensors}
    of_block = {name.removeprefix("blk.3."): entry for name, entry in found.items() if name.startswith("blk.3.")}
    assert layers(read) == (4, 1)
    assert {name: entry for name, entry in of_block.items() if name in NEXTN} == NEXTN
    others = {name.removeprefix("blk.2.") for name in found if name.startswith("blk.2.")}
    assert of_block.keys() - NEXTN.keys() == others


def test_f18_a_file_of_mtp_layers_has_them_and_the_embedding_and_the_head(source, tmp_path):
    read = converted(source, tmp_path / "x.gguf", mtp="only")
    whole = converted(source, tmp_path / "whole.gguf", mtp="keep")
    expected = {t.name: t.data for t in whole.tensors if t.name in ROOT or t.name.startswith("blk.3.")}
    assert layers(read) == (4, 1)
    assert {t.name for t in read.tensors} == expected.keys()
    assert all(np.array_equal(t.data, expected[t.name]) for t in read.tensors)


def test_f18_mtp_layers_are_dropped_by_default_as_the_reference_converter_does(source, tmp_path):
    read = converted(source, tmp_path / "x.gguf")
    converted(source, tmp_path / "dropped.gguf", mtp="drop")
    assert layers(read) == (3, None)
    assert (tmp_path / "x.gguf").read_bytes() == (tmp_path / "dropped.gguf").read_bytes()


@pytest.mark.parametrize("mtp", ["keep", "only"])
def test_f18_quantized_files_with_mtp_layers_are_verified(source, tmp_path, mtp):
    read = converted(source, tmp_path / "x.gguf", mtp=mtp, type="q4_k_m")
    types = {t.name.removeprefix("blk.3."): t.tensor_type.name for t in read.tensors}
    assert (types["nextn.eh_proj.weight"], types["nextn.enorm.weight"]) == ("Q4_K", "F32")


def test_f18_the_file_of_mtp_layers_is_called_so(source):
    names = {mtp: deepgguf.plan(source, target="llama.cpp", mtp=mtp).files[0].name for mtp in ("keep", "drop", "only")}
    assert names == {"keep": "v3-BF16.gguf", "drop": "v3-BF16.gguf", "only": "v3-BF16-mtp.gguf"}


def test_f18_how_to_run_names_the_option_for_drafting(source):
    kept, only = (deepgguf.plan(source, "out/", target="llama.cpp", mtp=mtp) for mtp in ("keep", "only"))
    assert how_to_run(kept, Path("out")) == [
        "run it: llama-cli -m out/v3-BF16.gguf",
        "its MTP layers draft if asked to: llama-server --spec-type draft-mtp -m out/v3-BF16.gguf",
    ]
    assert run_command(only, Path("out")) is None
    assert how_to_run(only, Path("out")) == [
        "MTP layers draft for their model: "
        "llama-server --spec-type draft-mtp -m MODEL.gguf --model-draft out/v3-BF16-mtp.gguf"
    ]


def test_f18_the_engine_computes_the_same_with_and_without_kept_mtp_layers(source, tmp_path):
    for mtp in ("keep", "drop"):
        deepgguf.convert(source, tmp_path / f"{mtp}.gguf", target="llama.cpp", mtp=mtp)
    assert np.array_equal(log_probabilities(tmp_path / "keep.gguf"), log_probabilities(tmp_path / "drop.gguf"))


def test_f18_the_engine_accepts_every_token_that_kept_or_separate_mtp_layers_draft(tmp_path):
    source = write_checkpoint(tmp_path / "v3", config("v3", "sample"), successors(weights(config("v3", "sample"))))
    for mtp in ("keep", "drop", "only"):
        deepgguf.convert(source, tmp_path / f"{mtp}.gguf", target="llama.cpp", type="f32", mtp=mtp)
    text, accepted, drafted = answer(tmp_path / "drop.gguf")
    assert (accepted, drafted) == (0, 0)
    for model, draft in (("keep", "keep"), ("drop", "only")):
        found, accepted, drafted = answer(tmp_path / f"{model}.gguf", tmp_path / f"{draft}.gguf")
        assert found == text
        assert accepted == drafted > 10


def successors(tensors: dict[str, Stored]) -> dict[str, Stored]:
    """Weights by which every token is followed by the next one of the vocabulary, in the model as in its MTP layer.

    Blocks add nothing to what they are given; the head has in every row the embedding of the token before. The MTP
    layer takes its token's embedding, the first half of what eh_proj multiplies, and nothing of the model's state.
    """
    made = {
        name: Stored(t.dtype, t.shape, bytes(len(t.data))) if "o_proj" in name or "down_proj" in name else t
        for name, t in tensors.items()
    }
    embedding = floats(tensors["model.embed_tokens.weight"])
    head = stored(np.roll(embedding, 1, axis=0), "BF16")
    copies = {
        "model.layers.3.embed_tokens.weight": stored(embedding, "BF16"),
        "model.layers.3.shared_head.head.weight": head,
    }
    eh_proj = stored(np.eye(256, 512), "BF16")
    return made | copies | {"lm_head.weight": head, "model.layers.3.eh_proj.weight": eh_proj}


def answer(model: Path, draft: Path | None = None) -> tuple[str, int, int]:
    """The text of 24 tokens, how many of them were drafted and taken, how many were drafted."""
    body = {"prompt": list(TOKENS), "max_tokens": 24, "temperature": 0, "ignore_eos": True}
    (found,) = serve(model, [("handle_completions", body)], draft=draft)
    timings = found["timings"]
    return found["choices"][0]["text"], timings.get("draft_n_accepted", 0), timings.get("draft_n", 0)


def test_f18_the_engine_takes_the_models_embedding_where_the_mtp_layer_has_none(tmp_path):
    names = [f"{MTP}embed_tokens.weight", f"{MTP}shared_head.head.weight"]
    source = write_checkpoint(tmp_path / "x", TINY, without(weights(TINY), *names))
    names = {t.name for t in converted(source, tmp_path / "x.gguf", mtp="keep").tensors if ".nextn." in t.name}
    assert names == {f"blk.2.nextn.{name}.weight" for name in ("eh_proj", "enorm", "hnorm", "shared_head_norm")}


@pytest.mark.parametrize("mtp", ["keep", "only"])
def test_f18_ollama_cannot_have_mtp_layers_and_the_message_says_who_can(source, mtp):
    with pytest.raises(UsageError, match=rf"`mtp`: '{mtp}' is not possible for ollama: .*`target=\"llama.cpp\"`"):
        deepgguf.plan(source, mtp=mtp)


@pytest.mark.parametrize("mtp", ["keep", "only"])
@pytest.mark.parametrize("promised", [0, 1])
def test_f18_a_checkpoint_without_mtp_layers_has_none_to_keep(tmp_path, mtp, promised):
    source = write_checkpoint(tmp_path / "x", V3 | {"num_nextn_predict_layers": promised}, weights(V3))
    with pytest.raises(UsageError, match=rf"`mtp`: '{mtp}' is not possible: .* no MTP layers"):
        deepgguf.plan(source, target="llama.cpp", mtp=mtp)


def test_f18_an_mtp_layer_that_lacks_an_expert_is_named_with_the_way_out(tmp_path):
    missing = f"{MTP}mlp.experts.3.up_proj.weight"
    source = write_checkpoint(tmp_path / "x", TINY, without(weights(TINY), missing))
    with pytest.raises(CheckpointError, match=rf"{missing}: .*MTP layer is incomplete: choose `mtp=\"drop\"`"):
        deepgguf.plan(source, target="llama.cpp", mtp="keep")
    assert deepgguf.plan(source, target="llama.cpp").files


def test_f18_more_mtp_layers_than_the_engine_drafts_with_are_warned_of(tmp_path):
    two = V3 | {"num_nextn_predict_layers": 2}
    plan = deepgguf.plan(write_checkpoint(tmp_path / "x", two, weights(two)), target="llama.cpp", mtp="keep")
    assert [warning for warning in plan.warnings if "MTP" in warning] == [
        "llama.cpp drafts with one MTP layer, and this model has 2: it will not draft with this file"
    ]
    assert plan.files[0].keys["deepseek2.nextn_predict_layers"].value == 2


def test_f18_a_file_with_mtp_layers_is_not_one_of_a_checkpoint_without(source, tmp_path):
    deepgguf.convert(source, tmp_path / "x.gguf", target="llama.cpp", mtp="keep")
    trunk = {name: t for name, t in weights(config("v3", "sample")).items() if not name.startswith("model.layers.3.")}
    other = write_checkpoint(tmp_path / "trunk", config("v3", "sample"), trunk)
    found = {difference.where for difference in deepgguf.compare(tmp_path / "x.gguf", other).differences}
    assert {"key deepseek2.block_count", "key deepseek2.nextn_predict_layers", "tensor blk.3.attn_norm.weight"} <= found


@pytest.mark.parametrize("name", ["mtp.layers.0.", "model.mtp.0.", "model.mtp_layers.0."])
def test_f18_mtp_layers_under_a_trainers_name_are_dropped_as_such(source, tmp_path, name):
    tensors = {n.replace("model.layers.3.", name): t for n, t in weights(config("v3", "sample")).items()}
    renamed = write_checkpoint(tmp_path / "v3", config("v3", "sample"), tensors)
    (dropped,), (original,) = deepgguf.plan(renamed).dropped, deepgguf.plan(source).dropped
    assert (dropped.reason, dropped.tensors) == (original.reason, original.tensors)
