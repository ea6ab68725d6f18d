"""With a GGUF file as the source: what was made of it is compared with it, tensor by tensor and key by key."""

import shutil

import pytest

import deepgguf
from deepgguf import compare, merge, patch, quantize, split
from deepgguf.errors import UsageError
from planting import exchange_experts, flip_bit, rewrite, the_difference, with_value
from test_quantize_goldens import gguf as gguf  # the samples' unquantized files

UP = "blk.1.ffn_up_exps.weight"  # [6, 256, 256]


@pytest.fixture
def own(gguf, tmp_path):
    """A copy that may be damaged."""
    return shutil.copy(gguf("v3-bf16", "llama.cpp"), tmp_path / "in.gguf")


def remade(file, source, **choices):
    """The tensors that are equal exactly and within bounds, after a comparison that finds nothing, bytes included."""
    report = compare(file, source, remake=True, jobs=2, **choices)
    assert report.differences == ()
    assert report.source.remade == sum(file.tensors for file in report.files)
    return report.source.exact, report.source.bounded


def test_what_was_quantized_has_no_difference_however_it_was_made(gguf, tmp_path):
    source = gguf("v3-bf16", "llama.cpp")
    choices = {"tensor_types": ["ffn_down=q8_0"], "override_kv": ["general.name=str:Mine"]}
    quantize(source, tmp_path / "x.gguf", type="q4_k_m", manifest=False, jobs=2, **choices)
    assert remade(tmp_path / "x.gguf", source, override_kv=choices["override_kv"]) == (17, 35)
    files = quantize(source, tmp_path / "y.gguf", type="iq4_xs", split_max_tensors=20, jobs=2).files
    assert remade(files[2].path, source) == (17, 35)
    quantize(files[0].path, tmp_path / "z.gguf", type="q2_k", allow_requantize=True, jobs=2)
    assert sum(remade(tmp_path / "z.gguf", files[1].path)) == 52


def test_what_was_moved_has_no_difference(gguf, tmp_path):
    """As the files of a set, joined again, in Ollama's layout and in llama.cpp's, from weights that are quantized."""
    source = gguf("v3-bf16", "ollama")
    quantize(source, tmp_path / "q.gguf", type="q4_0", jobs=2)
    files = split(tmp_path / "q.gguf", tmp_path / "s.gguf", split_max_tensors=20, no_tensor_first_split=True).files
    merge(files[0].path, tmp_path / "m.gguf")
    patch(tmp_path / "q.gguf", tmp_path / "p.gguf", split_kv_b=True, manifest=False)
    assert remade(files[0].path, tmp_path / "q.gguf") == (49, 0)
    assert remade(tmp_path / "m.gguf", files[1].path) == (49, 0)
    assert remade(tmp_path / "m.gguf", source) == (17, 32)
    assert remade(tmp_path / "p.gguf", tmp_path / "q.gguf") == (52, 0)


def test_the_gguf_that_a_file_was_made_of_is_named_where_its_checkpoint_was_given(checkpoint, own, tmp_path):
    quantize(own, tmp_path / "x.gguf", type="q8_0", jobs=2)
    with pytest.raises(deepgguf.VerificationError, match="compare with in.gguf, of which it was made by its manifest"):
        deepgguf.verify(tmp_path / "x.gguf", checkpoint("v3-bf16"), jobs=1)


def test_the_keys_of_a_patch_are_listed_if_its_manifest_says_that_it_is_one(own, tmp_path):
    patch(own, tmp_path / "x.gguf", override_kv="any.key=int:1", remove_key="general.name")
    report = compare(tmp_path / "x.gguf", own, jobs=1)
    assert report.differences == ()
    assert report.source.patched == ("general.name", "any.key")
    (tmp_path / "x.gguf.json").unlink()
    assert [found.where for found in compare(tmp_path / "x.gguf", own, jobs=1).differences] == [
        "key general.name",
        "key any.key",
    ]


def test_another_architecture_is_compared_where_its_types_stay(own, tmp_path):
    rewrite(own, with_value("general.architecture", "llama"))
    files = split(own, tmp_path / "x.gguf", split_max_tensors=20).files
    assert remade(files[0].path, own) == (52, 0)
    flip_bit(files[2].path, "blk.2.ffn_norm.weight", 5, 0)
    assert the_difference(files[0].path, own).where == "tensor blk.2.ffn_norm.weight, row 0, column 1"


def test_a_dimension_that_ggml_does_not_count_may_be_there_or_not(gguf, tmp_path):
    source = gguf("ocr", "ollama")
    patch(source, tmp_path / "x.gguf", remove_key="general.file_type")
    for path, dimensions in ((source, 4), (tmp_path / "x.gguf", 3)):
        assert [len(t.shape) for t in deepgguf.inspect(path).tensors if t.name == "s.position_embd"] == [dimensions]
        remade(path, source)


def test_a_flipped_bit_is_found_with_its_expert_row_and_column(own, tmp_path):
    quantize(own, tmp_path / "x.gguf", type="bf16", manifest=False, jobs=2)
    flip_bit(tmp_path / "x.gguf", UP, 2 * (3 * 256 * 256 + 5 * 256 + 17), 0)
    found = the_difference(tmp_path / "x.gguf", own)
    assert found.where == f"tensor {UP}, expert 3, row 5, column 17"
    assert found.text == "1 of 65,536 weights differ"


def test_exchanged_experts_are_found_among_quantized_weights_and_among_copied_blocks(own, tmp_path):
    quantize(own, tmp_path / "x.gguf", type="q8_0", manifest=False, jobs=2)
    merged = shutil.copy(tmp_path / "x.gguf", tmp_path / "y.gguf")
    exchange_experts(tmp_path / "x.gguf", UP, 1, 4)
    for source in (own, merged):
        found = compare(tmp_path / "x.gguf", source, jobs=1).differences
        assert [one.where.split(", row")[0] for one in found] == [f"tensor {UP}, expert 1", f"tensor {UP}, expert 4"]


def test_another_type_than_the_caller_says_is_a_difference(own, tmp_path):
    quantize(own, tmp_path / "x.gguf", type="q4_k_m", jobs=2)
    with pytest.raises(deepgguf.VerificationError, match=r"key general\.file_type: expected 7, found 15"):
        deepgguf.verify(tmp_path / "x.gguf", own, type="q8_0", jobs=1)


@pytest.mark.parametrize("choice", [{"pre": "deepseek-v3"}, {"drop": "x"}])
def test_what_only_a_checkpoint_decides_is_refused(own, choice):
    with pytest.raises(UsageError, match="has no meaning for a GGUF file as the source"):
        compare(own, own, **choice)


def test_a_source_that_is_not_there_is_named(own, tmp_path):
    with pytest.raises(UsageError, match=r"none\.gguf: no such file"):
        compare(own, tmp_path / "none.gguf")
