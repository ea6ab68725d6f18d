"""Every key that follows from the checkpoint is compared: presence, type, value, every item."""

from pathlib import Path

import msgspec
import pytest
from planting import convert, rewrite, the_difference, with_value

from deepgguf.api import compare
from deepgguf.checkpoint.checkpoint import read_checkpoint
from deepgguf.files.local import LocalFiles
from deepgguf.formats.gguf.decode import read_header
from deepgguf.formats.gguf.types import FileType, GGUFHeader, Value, ValueType
from deepgguf.models.match import read_model
from deepgguf.verification.compare_keys import key_differences
from deepgguf.verification.counterparts import find_counterparts

FREE = {"general.name", "general.size_label", "general.version", "general.organization", "general.basename"}
EVERY_LAYOUT = [
    ("v3", "ollama"),
    ("v3-fp8", "ollama"),
    ("v2-lite", "llama.cpp"),
    ("ocr", "ollama"),
    ("ocr", "llama.cpp"),
]

every_layout = pytest.mark.parametrize(("kind", "target"), EVERY_LAYOUT)


class Compared:
    """A file's keys with one of them changed, against the source."""

    def __init__(self, file: Path, source: Path) -> None:
        self.header: GGUFHeader = read_header(file)
        self.checkpoint = read_checkpoint(LocalFiles(source))
        self.model = read_model(self.checkpoint)
        self.counterparts = find_counterparts([self.header], self.model)
        # Without these the keys mean another layout or model; that is another test.
        self.bound = {name for name in self.header.keys if name not in FREE | {"general.architecture"}}

    def differences(self, keys: dict[str, Value]) -> list[str]:
        header = msgspec.structs.replace(self.header, keys=keys)
        found = key_differences([header], self.checkpoint, self.model, self.counterparts)
        return [d.where.split(",")[0] for d in found]


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
    for name in files.bound:
        keys = dict(files.header.keys)
        keys[name] = msgspec.structs.replace(keys[name], value=changed(keys[name].value))
        assert files.differences(keys) == [f"key {name}"]


@every_layout
def test_every_missing_key_is_found(compared, kind, target):
    files = compared(kind, target)
    for name in files.bound:
        keys = {k: v for k, v in files.header.keys.items() if k != name}
        assert files.differences(keys) == [f"key {name}"]


@every_layout
def test_every_changed_type_is_found(compared, kind, target):
    files = compared(kind, target)
    for name in files.bound | (FREE & set(files.header.keys)):
        keys = files.header.keys | {name: Value(ValueType.UINT64, 1)}
        assert files.differences(keys) == [f"key {name}"]


@every_layout
def test_an_extra_key_is_found(compared, kind, target):
    files = compared(kind, target)
    keys = files.header.keys | {"deepseek2.rope.scaling.attn_factor": Value(ValueType.FLOAT32, 1.0)}
    assert files.differences(keys) == ["key deepseek2.rope.scaling.attn_factor"]


def test_what_a_model_is_called_is_free(compared):
    files = compared("v2-lite", "llama.cpp")
    keys = files.header.keys | {"general.name": Value(ValueType.STRING, "Another")}
    assert files.differences(keys) == []


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
    assert (found.where, found.expected) == ("key general.file_type", "UINT32 32")


def test_every_mixture_that_llama_cpp_knows_may_be_the_file_type_of_quantized_tensors(sample, converted):
    files = Compared(converted("v3", type="q4_k_m"), sample("v3"))

    def differences(number):
        return files.differences(files.header.keys | {"general.file_type": Value(ValueType.UINT32, number)})

    plain = {FileType.F32, FileType.F16, FileType.BF16}
    assert {number for number in range(100) if not differences(number)} == set(FileType) - plain


GOLDENS = Path(__file__).parents[1] / "goldens" / "imatrix"


@pytest.mark.parametrize("type", ["q4_k_m", "q4_0", "iq4_xs"])
def test_a_file_made_with_an_importance_matrix_has_no_difference(sample, tmp_path, type):
    file = convert(sample("v3"), tmp_path / "v3.gguf", type=type, imatrix=GOLDENS / "imatrix-v3-bf16.gguf")
    assert compare(file, sample("v3")).differences == ()
