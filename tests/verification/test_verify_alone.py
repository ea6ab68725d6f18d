"""Without the source: structure and stored hashes."""

import hashlib
import json

import pytest

import deepgguf
from deepgguf import compare
from deepgguf.errors import GGUFError, VerificationError
from deepgguf.formats.gguf.decode import read_header
from planting import convert, copy_of, differences, flip_bit, rewrite, tensor_named, the_difference, with_value


def change_manifest(file, **members):
    path = file.with_name(file.name + ".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | members))


@pytest.mark.parametrize("kind", ["v3", "v3-fp8", "ocr"])
@pytest.mark.parametrize("type", ["auto", "q8_0"])
def test_a_sound_file_agrees_with_its_hashes(converted, kind, type):
    report = compare(converted(kind, type=type, manifest=True))
    assert report.differences == ()
    assert report.files[0].hashed == report.files[0].tensors


def test_a_flipped_bit_is_found_in_any_tensor(converted):
    file = converted("v3", manifest=True)
    for tensor in read_header(file).tensors:
        flip_bit(file, tensor.name, tensor.nbytes - 1, 0)
        assert the_difference(file).where == f"tensor {tensor.name}"
        flip_bit(file, tensor.name, tensor.nbytes - 1, 0)


def test_a_flipped_bit_of_a_quantized_weight_is_found(converted):
    file = converted("v3", type="q8_0", manifest=True)
    flip_bit(file, "blk.1.ffn_up_exps.weight", 1000, 0)
    header = read_header(file)
    tensor = tensor_named(header, "blk.1.ffn_up_exps.weight")
    start = header.data_offset + tensor.offset
    found = the_difference(file)
    assert found.where == "tensor blk.1.ffn_up_exps.weight"
    assert f"bytes {start:,} to {start + tensor.nbytes:,} of the file, 1,536 rows" in found.text


def test_a_changed_key_is_found_in_the_header(converted):
    file = converted("v3", manifest=True)
    rewrite(file, keys=with_value("deepseek2.block_count", 4))
    found = the_difference(file)
    assert found.where == f"file {file}"
    assert found.text.startswith("XXH3-128 of the header")


def test_padding_that_is_not_zero_is_found(converted):
    file = converted("v3", type="q8_0")
    header = read_header(file)
    tensor = next(t for t in header.tensors if t.nbytes % 32)
    data = bytearray(file.read_bytes())
    data[header.data_offset + tensor.offset + tensor.nbytes] = 1
    file.write_bytes(data)
    assert the_difference(file).where == f"tensor {tensor.name}"


def test_a_file_without_a_manifest_has_its_structure_checked(converted):
    file = converted("v3")
    assert compare(file).files[0].manifest == ""
    file.write_bytes(file.read_bytes()[:-64])
    with pytest.raises(GGUFError, match="after the end of the file"):
        compare(file)


def test_the_sha256_is_that_of_the_file(converted):
    file = converted("v3")
    report = compare(file, sha256=True)
    assert report.files[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_stored_sha256_is_compared(converted):
    file = converted("v3", manifest=True)
    change_manifest(file, sha256="00")
    assert differences(file) == []
    (found,) = compare(file, sha256=True).differences
    assert found.expected == "00"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"schema": 3}, "has schema 3, and only 1 and 2 are known"),
        ({"tensors": 3}, "is not a manifest"),
        ({"size": "1"}, "is not a manifest"),
    ],
)
def test_a_manifest_of_another_form_is_refused(converted, members, message):
    file = converted("v3", manifest=True)
    change_manifest(file, **members)
    with pytest.raises(VerificationError, match=message):
        compare(file)


@pytest.mark.parametrize("pieces", [[], [0], [-1], [7]])
def test_pieces_that_do_not_fill_their_tensor_are_refused(converted, pieces):
    file = converted("v3", manifest=True)
    tensors = json.loads(file.with_name("model.gguf.json").read_text())["tensors"]
    tensors[0]["pieces"] = pieces
    change_manifest(file, tensors=tensors)
    with pytest.raises(VerificationError, match="do not fill"):
        compare(file)


def test_a_manifest_that_names_other_tensors_is_found(converted):
    file = converted("v3", manifest=True)
    tensors = json.loads(file.with_name("model.gguf.json").read_text())["tensors"]
    tensors[0]["name"] = "blk.0.other"
    change_manifest(file, tensors=tensors)
    assert the_difference(file).text == "entry 0 of the tensors: name, type, offset, bytes"


def test_every_file_of_a_split_set_is_compared_with_its_own_hashes(sample, tmp_path):
    convert(sample("v3"), tmp_path / "v3.gguf", split_max_tensors=20, manifest=True)
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) == 3
    report = compare(parts[1], sample("v3"))
    assert [file.path for file in report.files] == parts
    assert report.differences == ()
    last = read_header(parts[2]).tensors[3]
    flip_bit(parts[2], last.name, 0, 0)
    assert the_difference(parts[0]).where == f"tensor {last.name}"


def test_verify_raises_for_the_first_difference(converted, tmp_path):
    file = converted("v3", manifest=True)
    assert deepgguf.verify(file).differences == ()
    flip_bit(file, "output_norm.weight", 0, 0)
    with pytest.raises(VerificationError, match=r"tensor output_norm\.weight: expected [0-9a-f]{32}, found"):
        deepgguf.verify(file)


def test_a_copy_elsewhere_is_compared_with_the_hashes_beside_it(converted, tmp_path):
    file = converted("v3", manifest=True)
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert compare(copy_of(file, other)).files[0].manifest == f"{other / file.name}.json"
