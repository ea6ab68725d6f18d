"""What `verify` must find, what it must accept, and what must not hurt it: rows 91, 92, 95, 96, 98 and 100."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import checkpoint, edit_json
from command import refused, run_deepgguf
from gguf_bytes import STRING, gguf, key, tensor, text

import deepgguf
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.decode import read_header
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType, row_bytes
from planting import change_tensor, differences, rewrite, with_value

GOLDENS = Path(__file__).parents[1] / "goldens" / "imatrix"
UP = "blk.1.ffn_up_exps.weight"


def converted(tmp_path: Path, type: str = "auto", kind: str = "v3", manifest: bool = False, **how: Any) -> Any:
    """A file for llama.cpp, and its source."""
    source = checkpoint(kind, tmp_path / kind)
    file = tmp_path / "model.gguf"
    deepgguf.convert(source, file, **{"target": "llama.cpp", "jobs": 1} | how, type=type, manifest=manifest)
    return file, source


def found(file: Path, source: Path | None, **choices: Any) -> set[str]:
    return {d.where.split(",")[0] for d in deepgguf.compare(file, source, jobs=1, **choices).differences}


EXTRA = {
    "row_91_split": ("split.no", Value(ValueType.UINT16, 0)),
    "row_91_importance": ("quantize.imatrix.file", Value(ValueType.STRING, "x")),
    "row_91_license": ("general.license", Value(ValueType.STRING, "mit")),
    "row_91_unknown": ("general.alignment", Value(ValueType.UINT32, 32)),
}


@pytest.mark.parametrize(("name", "value"), EXTRA.values(), ids=EXTRA)
def test_a_key_that_does_not_follow_from_the_source_is_found(tmp_path: Path, name: str, value: Value) -> None:
    file, source = converted(tmp_path)
    rewrite(file, keys=lambda keys: keys | {name: value})
    assert f"key {name}" in found(file, source)


def test_row_91_keys_in_another_order_are_found(tmp_path: Path) -> None:
    file, source = converted(tmp_path)
    rewrite(file, keys=lambda keys: dict(reversed(keys.items())))
    first, last = "general.name", next(iter(read_header(file).keys))
    assert [(d.where, d.text) for d in differences(file, source)] == [
        (f"key {first}", f"the order: {last} comes before it")
    ]


def test_row_91_another_name_is_found(tmp_path: Path) -> None:
    file, source = converted(tmp_path)
    rewrite(file, keys=with_value("general.name", "Another"))
    assert [(d.where, d.expected, d.found) for d in differences(file, source)] == [
        ("key general.name", "'v3'", "'Another'")
    ]


def test_row_91_a_negative_zero_among_zeros_is_found(tmp_path: Path) -> None:
    file, source = converted(tmp_path)
    name = "deepseek2.expert_weights_scale"
    edit_json(source / "config.json", lambda config: config.update(routed_scaling_factor=0.0))
    assert found(file, source) == {f"key {name}"}
    rewrite(file, keys=with_value(name, 0.0))
    assert found(file, source) == set()
    rewrite(file, keys=with_value(name, -0.0))
    assert found(file, source) == {f"key {name}"}


def test_row_91_tensors_in_another_order_are_found(tmp_path: Path) -> None:
    file, source = converted(tmp_path)
    rewrite(file, tensors=lambda tensors: dict(reversed(tensors.items())))
    (one,) = differences(file, source)
    assert (one.where, one.text) == (
        "tensor blk.0.attn_k_b.weight",
        "the order: token_embd.weight comes before it",
    )


def test_row_91_another_version_is_found(tmp_path: Path) -> None:
    file, source = converted(tmp_path)
    data = bytearray(file.read_bytes())
    data[4] = 2
    file.write_bytes(data)
    assert [(d.text, d.expected, d.found) for d in differences(file, source)] == [("GGUF version", "3", "2")]


def test_row_91_a_bit_in_the_header_s_padding_is_found(tmp_path: Path) -> None:
    file, source = converted(tmp_path)
    end = read_header(file).data_offset
    data = bytearray(file.read_bytes())
    assert data[end - 1] == 0
    data[end - 1] ^= 1
    file.write_bytes(data)
    assert [d.where for d in differences(file, source)] == [f"file {file}"]


@pytest.mark.parametrize("type", [GGMLType.F32, GGMLType.F16], ids=["row_91_f32", "row_91_f16"])
def test_a_matrix_of_another_plain_type_is_found(tmp_path: Path, type: GGMLType) -> None:
    file, source = converted(tmp_path)
    name = "blk.1.attn_output.weight"

    def retyped(tensors: Any) -> Any:
        _, shape, data = tensors[name]
        values = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        return tensors | {name: (type, shape, values.astype("<f4" if type is GGMLType.F32 else "<f2").tobytes())}

    rewrite(file, tensors=retyped)
    assert [(d.where, d.text, d.expected) for d in differences(file, source)] == [
        (f"tensor {name}", "the type", "BF16")
    ]


def test_row_91_the_number_of_another_mixture_is_found(tmp_path: Path) -> None:
    file, source = converted(tmp_path, "q4_k_m")
    rewrite(file, keys=with_value("general.file_type", 18))
    assert [(d.where, d.expected, d.found) for d in differences(file, source)] == [
        ("key general.file_type", "15", "18")
    ]


def test_row_91_types_chosen_one_by_one_are_accepted(tmp_path: Path) -> None:
    file, source = converted(tmp_path, "q4_k_m", tensor_types="attn_kv_a=q8_0")
    report = deepgguf.compare(file, source)
    assert (report.differences, report.source.type, report.source.chosen) == ((), "q4_k_m", 3)
    assert found(file, source, type="q4_k_m", tensor_types="attn_kv_a=q8_0") == set()
    assert found(file, source, type="q4_k_m", tensor_types="attn_kv_a=q6_k") == {
        f"tensor blk.{n}.attn_kv_a_mqa.weight" for n in range(3)
    }


@pytest.mark.parametrize("type", ["q4_0", "q2_k", "q5_1", "iq4_xs"], ids=lambda type: f"row_91_{type}")
def test_a_block_of_zeros_behind_a_forged_importance_matrix_is_found(tmp_path: Path, type: str) -> None:
    file, source = converted(tmp_path, type)
    forged = {
        "quantize.imatrix.file": Value(ValueType.STRING, "imatrix.gguf"),
        "quantize.imatrix.entries_count": Value(ValueType.UINT32, 30),
    }
    rewrite(file, keys=lambda keys: keys | forged)

    def emptied(data: np.ndarray, info: Any) -> np.ndarray:
        data[: row_bytes(info.type, 256)] = 0
        return data

    change_tensor(file, UP, emptied)
    assert f"tensor {UP}" in found(file, source)


def test_row_91_the_manifest_counts_beside_the_source(tmp_path: Path) -> None:
    file, source = converted(tmp_path, "q4_k_m", manifest=True)
    manifest = json.loads(Path(f"{file}.json").read_bytes())
    manifest["tensors"][3]["digest"] = "0" * 32
    Path(f"{file}.json").write_text(json.dumps(manifest))
    assert found(file, source) == {f"tensor {manifest['tensors'][3]['name']}"}


def test_row_91_a_split_set_of_two_models_is_found_without_a_source(tmp_path: Path) -> None:
    for kind in ("v3", "v3-fp8"):
        folder = tmp_path / "out" / kind
        folder.mkdir(parents=True)
        source = checkpoint(kind, tmp_path / kind)
        deepgguf.convert(source, folder / "m.gguf", target="llama.cpp", type="bf16", jobs=1, split_max_tensors=30)
    for name in ("m-00002-of-00002.gguf", "m-00002-of-00002.gguf.json"):
        shutil.copyfile(tmp_path / "out" / "v3-fp8" / name, tmp_path / "out" / "v3" / name)
    (one,) = differences(tmp_path / "out" / "v3" / "m-00001-of-00002.gguf")
    assert (one.expected, one.found) == ("v3", "v3-fp8")


@pytest.mark.parametrize("type", ["auto", "q4_k_m"], ids=["row_91_auto", "row_91_q4_k_m"])
def test_any_bit_is_found_by_making_it_anew(tmp_path: Path, type: str) -> None:
    file, source = converted(tmp_path, type, kind="v3-fp8")
    assert deepgguf.compare(file, source, remake=True).source.remade == len(read_header(file).tensors)
    data = bytearray(file.read_bytes())
    data[-70_001] ^= 1
    file.write_bytes(data)
    assert len(deepgguf.compare(file, source, remake=True).differences) == 1


def test_row_91_what_was_made_by_an_importance_matrix_is_made_anew_by_the_same_one_only(tmp_path: Path) -> None:
    matrix = GOLDENS / "imatrix-v3-bf16.gguf"
    file, source = converted(tmp_path, "q4_k_m", imatrix=matrix)
    assert found(file, source) == set()
    assert found(file, source, imatrix=matrix, remake=True) == set()
    with pytest.raises(UsageError, match="only the same one makes the same bytes; give it"):
        deepgguf.verify(file, source, remake=True)


def test_row_106_an_importance_matrix_that_was_renamed_is_still_the_same(tmp_path: Path) -> None:
    matrix = GOLDENS / "imatrix-v3-bf16.gguf"
    file, source = converted(tmp_path, "q4_k_m", imatrix=matrix)
    renamed = Path(shutil.copy(matrix, tmp_path / "renamed.gguf"))
    assert found(file, source, imatrix=renamed, remake=True) == set()


def test_row_91_making_anew_takes_a_source(tmp_path: Path) -> None:
    file, _ = converted(tmp_path)
    line = refused("verify", file, "--remake", folder=tmp_path, status=2)
    assert line == "--remake has no meaning without the checkpoint; give it as the source"


def importance(path: Path, name: str, values: np.ndarray) -> Path:
    """A matrix of the older form for one tensor."""
    encoded = name.encode()
    head = struct.pack("<ii", 1, len(encoded)) + encoded + struct.pack("<ii", 1, len(values))
    path.write_bytes(head + values.astype("<f4").tobytes())
    return path


ODD = {"row_92_negative": -1.0, "row_92_infinite": np.inf, "row_92_nan": np.nan, "row_92_too_large": 3e38}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_an_importance_matrix_with_a_value_that_is_no_mean_square_is_refused(tmp_path: Path, value: float) -> None:
    source = checkpoint("v3", tmp_path / "v3")
    values = np.ones(256, np.float32)
    values[7] = value
    matrix = importance(tmp_path / "matrix.dat", "blk.0.attn_q_a.weight", values)
    line = refused("plan", source, "--type", "q4_k_m", "--imatrix", matrix, folder=tmp_path, status=1)
    assert f"blk.0.attn_q_a.weight has the value {value:g}" in line


UNUSUAL = {
    "row_92_empty_rope_parameters": {"rope_parameters": {}},
    "row_92_two_architectures": {"architectures": ["SomeOtherForCausalLM", "DeepseekV3ForCausalLM"]},
}


@pytest.mark.parametrize("fields", UNUSUAL.values(), ids=UNUSUAL)
def test_what_an_unusual_config_makes_is_accepted(tmp_path: Path, fields: dict[str, Any]) -> None:
    source = checkpoint("v3", tmp_path / "v3")
    edit_json(source / "config.json", lambda config: config.update(fields))
    file = tmp_path / "model.gguf"
    deepgguf.convert(source, file, target="llama.cpp", jobs=1)
    assert found(file, source, remake=True) == set()


@pytest.mark.parametrize("value", [0.0, 1e-45], ids=["row_92_zeros", "row_92_nearly_zeros"])
@pytest.mark.parametrize("type", ["q4_0", "q4_k_m", "q6_k", "iq4_nl"])
def test_what_an_importance_of_zero_makes_is_accepted_with_the_matrix(tmp_path: Path, type: str, value: float) -> None:
    matrix = importance(tmp_path / "matrix.dat", "blk.0.attn_q_a.weight", np.full(256, value, np.float32))
    file, source = converted(tmp_path, type, imatrix=matrix)
    assert found(file, source, imatrix=matrix) == set()


def test_row_95_a_manifest_with_pieces_of_one_byte_is_refused(tmp_path: Path) -> None:
    file, _ = converted(tmp_path, manifest=True)
    manifest = json.loads(Path(f"{file}.json").read_bytes())
    for entry in manifest["tensors"]:
        entry["pieces"] = [1]
    Path(f"{file}.json").write_text(json.dumps(manifest))
    assert "are the most that a conversion makes" in refused("verify", file, folder=tmp_path, status=3)


def test_row_95_a_hundred_thousand_tensors_are_described_in_seconds(tmp_path: Path) -> None:
    count = 100_000
    entries = [tensor(b"blk.%d.t%d.weight" % (n, n), (8,), 0, 32 * n) for n in range(count)]
    file = tmp_path / "many.gguf"
    file.write_bytes(gguf([], entries, data=32 * count))
    outcome = run_deepgguf("inspect", file, timeout=40)
    assert outcome.status == 0
    assert outcome.stdout.endswith("and 98,000 more, all of them in the JSON\n")


@pytest.mark.parametrize(
    "field",
    ["num_hidden_layers", "n_routed_experts", "vocab_size"],
    ids=["row_96_layers", "row_96_experts", "row_96_tokens"],
)
def test_verify_refuses_an_absurd_config_as_plan_does(tmp_path: Path, field: str) -> None:
    file, source = converted(tmp_path)
    edit_json(source / "config.json", lambda config: config.update({field: 10**8, "n_group": 1, "topk_group": 1}))
    line = refused("verify", file, source, folder=tmp_path, status=1)
    assert line == refused("plan", source, folder=tmp_path, status=1)


@pytest.mark.parametrize("number", [16, 24, 28], ids=["row_98_iq2_xxs", "row_98_i8", "row_98_f64"])
def test_a_type_that_deepgguf_does_not_write_is_a_difference(tmp_path: Path, number: int) -> None:
    file, source = converted(tmp_path)
    type = GGMLType(number)

    def retyped(tensors: Any) -> Any:
        _, shape, _ = tensors["output.weight"]
        nbytes = shape[0] * row_bytes(type, shape[1])
        return tensors | {"output.weight": (type, shape, bytes(nbytes))}

    rewrite(file, tensors=retyped)
    assert [(d.where, d.found) for d in differences(file, source)] == [("tensor output.weight", type.name)]


@pytest.mark.parametrize(
    "architecture", [b"clip", b"deepseek2-ocr", b"deepseekocr"], ids=lambda a: f"row_98_{a.decode()}"
)
def test_a_file_without_tensors_lacks_them_all(tmp_path: Path, architecture: bytes) -> None:
    source = checkpoint("ocr", tmp_path / "ocr")
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf([key(b"general.architecture", STRING, text(architecture))]))
    outcome = run_deepgguf("verify", file, source)
    assert outcome.status == 3
    assert "no such key" in outcome.stdout
    assert "is missing: it would be made of" in outcome.stdout or ", all of them in the JSON" in outcome.stdout


def test_row_100_a_forged_manifest_does_not_write_to_the_terminal(tmp_path: Path) -> None:
    file, _ = converted(tmp_path, manifest=True)
    escape = "\x1b]0;owned\x07\x9b2J\u202e"
    manifest = json.loads(Path(f"{file}.json").read_bytes())
    manifest |= {"header_digest": escape, "source": escape, "target": escape, "type": escape, "sha256": escape}
    for entry in manifest["tensors"]:
        entry |= {"digest": escape, "type": escape}
    Path(f"{file}.json").write_text(json.dumps(manifest))
    outcome = run_deepgguf("verify", file, "--sha256")
    assert outcome.status == 3
    assert "owned" in outcome.stdout
    assert [c for c in outcome.stdout + outcome.stderr if not c.isprintable() and c != "\n"] == []
