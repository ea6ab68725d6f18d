import pytest

import deepgguf
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.decode import read_header
from golden_samples import Checkpoint
from web_server import MODEL, speak_for_the_hub, web_of


def types(plan) -> dict[str, str]:
    return {tensor.info.name: tensor.info.type.name for file in plan.files for tensor in file.tensors}


@pytest.fixture
def published(checkpoint: Checkpoint, tmp_path):
    """A file with types of somebody's own choice."""
    out = tmp_path / "published.gguf"
    mine = {r"blk\.1\.ffn_down_exps": "q6_k", "attn_output": "iq4_nl", "token_embd": "f16"}
    deepgguf.convert(checkpoint("v3-fp8"), out, target="llama.cpp", type="q3_k_m", tensor_types=mine)
    return out


def test_every_tensor_has_the_type_that_it_has_in_the_other_file(checkpoint, published):
    like = deepgguf.plan(checkpoint("v3-bf16"), target="llama.cpp", like=published)
    assert types(like) == {tensor.name: tensor.type.name for tensor in read_header(published).tensors}
    assert not any("like" in warning for warning in like.warnings)
    assert like.type == "q3_k_m"


def test_the_same_checkpoint_makes_the_same_tensors(checkpoint, published, tmp_path):
    deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "like.gguf", target="llama.cpp", like=published)
    ours, theirs = read_header(tmp_path / "like.gguf"), read_header(published)
    assert ours.tensors == theirs.tensors
    data = (tmp_path / "like.gguf").read_bytes()[ours.data_offset :]
    assert data == published.read_bytes()[theirs.data_offset :]


def test_what_the_other_file_does_not_have_is_named_and_gets_the_mixture_s_type(checkpoint, published):
    like = deepgguf.plan(checkpoint("v3-fp8"), target="ollama", like=published)  # which has kv_b as one tensor
    (warning,) = [warning for warning in like.warnings if "`like`" in warning]
    kv_b = "blk.0.attn_kv_b.weight, blk.1.attn_kv_b.weight, blk.2.attn_kv_b.weight"
    assert warning == f"`like` does not cover 3 tensors, which get the types of q3_k_m: {kv_b}"
    plain = deepgguf.plan(checkpoint("v3-fp8"), target="ollama", type="q3_k_m")
    assert types(like)["blk.0.attn_kv_b.weight"] == types(plain)["blk.0.attn_kv_b.weight"]


def test_types_chosen_one_by_one_come_first(checkpoint, published):
    like = deepgguf.plan(checkpoint("v3-fp8"), target="llama.cpp", like=published, tensor_types="attn_output=q8_0")
    assert types(like)["blk.0.attn_output.weight"] == "Q8_0"


@pytest.mark.parametrize("other", [{"type": "q4_k_m"}, {"recipe": "x.toml"}, {"budget": "1G"}])
def test_another_choice_of_all_types_contradicts_it(checkpoint, published, other):
    with pytest.raises(UsageError, match="contradicts"):
        deepgguf.plan(checkpoint("v3-fp8"), like=published, **other)


def test_a_file_without_quantized_tensors_says_nothing(checkpoint, tmp_path):
    deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "plain.gguf", target="llama.cpp")
    with pytest.raises(UsageError, match="nothing of it is quantized; choose a `type` instead"):
        deepgguf.plan(checkpoint("v3-fp8"), like=tmp_path / "plain.gguf")


def test_a_file_that_is_not_there_is_named(checkpoint, tmp_path):
    with pytest.raises(UsageError, match="none.gguf: no such file"):
        deepgguf.plan(checkpoint("v3-fp8"), like=tmp_path / "none.gguf")


def test_of_a_published_file_on_the_hub_the_header_alone_is_read(checkpoint, published, monkeypatch):
    near = deepgguf.plan(checkpoint("v3-fp8"), target="llama.cpp", like=published)
    with web_of(published.parent) as web:
        speak_for_the_hub(monkeypatch, web)
        far = deepgguf.plan(checkpoint("v3-fp8"), target="llama.cpp", like=f"hf:{MODEL}/published.gguf")
        assert web.sent["bytes"] < published.stat().st_size
    assert types(far) == types(near)
