"""Every key that follows from the checkpoint is compared: presence, type, value, every item."""

import shutil
from pathlib import Path

import msgspec
import pytest

from deepgguf import compare
from deepgguf.checkpoint.checkpoint import read_checkpoint
from deepgguf.files.local import LocalFiles
from deepgguf.formats.gguf.decode import read_header
from deepgguf.formats.gguf.types import GGUFHeader, Value, ValueType
from deepgguf.planning.build import build_plan
from deepgguf.planning.options import Options
from deepgguf.recipes.recipe import NEED_IMPORTANCE, RECIPES
from deepgguf.remaking.plan import plan_again
from deepgguf.verification.compare_headers import key_differences
from planting import convert, differences, rewrite, the_difference, with_value

EVERY_LAYOUT = [
    ("v3", "ollama"),
    ("v3-fp8", "ollama"),
    ("v2-lite", "llama.cpp"),
    ("ocr", "ollama"),
    ("ocr", "llama.cpp"),
]

every_layout = pytest.mark.parametrize(("kind", "target"), EVERY_LAYOUT)


class Compared:
    """A file's keys with one of them changed, against those that follow from the source."""

    def __init__(self, file: Path, source: Path) -> None:
        self.header: GGUFHeader = read_header(file)
        self.checkpoint = read_checkpoint(LocalFiles(source))
        # Without the architecture the keys mean another layout or model; that is another test.
        self.names = self.header.keys.keys() - {"general.architecture"}

    def differences(self, keys: dict[str, Value]) -> list[str]:
        header = msgspec.structs.replace(self.header, keys=keys)
        (expected,) = plan_again([header], self.checkpoint, {}).expected.files
        return [d.where.split(",")[0] for d in key_differences(header, expected.keys)]


@pytest.fixture
def compared(sample, converted):
    return lambda kind, target: Compared(converted(kind, target), sample(kind))


def changed(value: object) -> object:
    if isinstance(value, list):
        return [*value[:-1], changed(value[-1])]
    if isinstance(value, bool):
        return not value
    return value + "x" if isinstance(value, str) else value + 1


@every_layout
def test_every_changed_value_is_found(compared, kind, target):
    files = compared(kind, target)
    for name in files.names:
        keys = dict(files.header.keys)
        keys[name] = msgspec.structs.replace(keys[name], value=changed(keys[name].value))
        assert files.differences(keys) == [f"key {name}"]


@every_layout
def test_every_missing_key_is_found(compared, kind, target):
    files = compared(kind, target)
    for name in files.names:
        keys = {k: v for k, v in files.header.keys.items() if k != name}
        assert files.differences(keys) == [f"key {name}"]


@every_layout
def test_every_changed_type_is_found(compared, kind, target):
    files = compared(kind, target)
    for name in files.names:
        keys = files.header.keys | {name: Value(ValueType.UINT64, 1)}
        assert files.differences(keys) == [f"key {name}"]


@every_layout
def test_an_extra_key_is_found(compared, kind, target):
    files = compared(kind, target)
    keys = files.header.keys | {"deepseek2.rope.scaling.attn_factor": Value(ValueType.FLOAT32, 1.0)}
    assert files.differences(keys) == ["key deepseek2.rope.scaling.attn_factor"]


def test_what_the_model_is_called_is_what_its_folder_is_called(compared):
    files = compared("v2-lite", "llama.cpp")
    keys = files.header.keys | {"general.name": Value(ValueType.STRING, "Another")}
    assert files.differences(keys) == ["key general.name"]


@pytest.mark.parametrize("manifest", [True, False])
def test_a_folder_may_be_renamed_where_a_manifest_tells_its_name(sample, tmp_path, manifest):
    source = shutil.copytree(sample("v2-lite"), tmp_path / "DeepSeek-V2-Lite")
    file = convert(source, tmp_path / "model.gguf", manifest=manifest)
    found = [d.where for d in differences(file, source.rename(tmp_path / "other"))]
    assert (found == []) is manifest


def test_a_float_is_compared_after_one_rounding(compared):
    files = compared("v3", "ollama")
    name = "deepseek2.rope.scaling.yarn_log_multiplier"
    assert files.header.keys[name].value != 0.1
    assert files.differences(files.header.keys | {name: Value(ValueType.FLOAT32, 0.1)}) == []


def test_the_first_wrong_item_is_named(sample, converted):
    file = converted("v3")
    tokens = list(read_header(file).keys["tokenizer.ggml.tokens"].value)
    tokens[300], tokens[301] = tokens[301], tokens[300]
    value = Value(ValueType.ARRAY, tokens, ValueType.STRING)
    rewrite(file, keys=lambda keys: keys | {"tokenizer.ggml.tokens": value})
    found = the_difference(file, sample("v3"))
    assert found.where == "key tokenizer.ggml.tokens, item 300"
    assert (found.expected, found.found) == (repr(tokens[301]), repr(tokens[300]))
    assert found.text == "2 of 544 items differ"


def test_a_quantized_file_type_for_plain_tensors_is_found(sample, converted):
    file = converted("v3")
    rewrite(file, keys=with_value("general.file_type", 15))
    found = the_difference(file, sample("v3"))
    assert (found.where, found.expected) == ("key general.file_type", "32")


@pytest.mark.parametrize("type", ["q4_k_m", "q3_k_l", "mxfp4_moe"])
def test_the_file_type_is_that_of_a_mixture_that_gives_every_tensor_its_type(sample, converted, type):
    files = Compared(converted("v3", type=type), sample("v3"))

    def differences(number):
        return files.differences(files.header.keys | {"general.file_type": Value(ValueType.UINT32, number)})

    types = {name: types_by(files.checkpoint, name) for name in RECIPES.keys() - NEED_IMPORTANCE - {"q1_0"}}
    alike = {RECIPES[name].file_type for name in types if types[name] == types[type]}
    assert {number for number in range(100) if not differences(number)} == alike


def types_by(checkpoint, type):
    plan = build_plan(checkpoint, Options(type=type, target="llama.cpp"))
    return [tensor.info.type for tensor in plan.files[0].tensors]


GOLDENS = Path(__file__).parents[1] / "goldens" / "imatrix"


@pytest.mark.parametrize("type", ["q4_k_m", "q4_0", "iq4_xs"])
def test_a_file_made_with_an_importance_matrix_has_no_difference(sample, tmp_path, type):
    file = convert(sample("v3"), tmp_path / "v3.gguf", type=type, imatrix=GOLDENS / "imatrix-v3-bf16.gguf")
    assert compare(file, sample("v3")).differences == ()
