"""A GGUF file is quantized to the bytes that llama-quantize makes of it, in its order, with its keys."""

from pathlib import Path

import pytest

from deepgguf import convert, plan_quantize, quantize
from deepgguf.errors import UsageError
from golden import GOLDENS, describe_written, read_golden
from test_goldens import quantized

SOURCES = ("v3-bf16", "v2-lite", "ocr")
# What differs between a source that deepgguf makes and one by the reference: docs/differences.md and a matrix's path.
NOT_COMPARED = ("quantize.imatrix.file", "quantize.imatrix.dataset")


@pytest.fixture(scope="module")
def gguf(checkpoint, tmp_path_factory):
    """`gguf(name, target)`: the unquantized file of a sample, made once."""
    made: dict[tuple[str, str], Path] = {}

    def make(name: str, target: str) -> Path:
        if (name, target) not in made:
            output = tmp_path_factory.mktemp("sources") / f"{name}.gguf"
            convert(checkpoint(name), output, target=target, only="text", jobs=2)
            made[name, target] = output
        return made[name, target]

    return make


def goldens(folder: str):
    paths = sorted((GOLDENS / folder).glob("*.json"))
    return [pytest.param(path, id=path.stem) for path in paths if path.stem.startswith(SOURCES)]


def assert_made(golden: Path, output: Path) -> None:
    """Everything but the sources' own keys: order, name, type, shape, offset and bytes of every tensor."""
    written, expected = describe_written(output), read_golden(golden.parent.name, golden.stem)
    assert written.tensors == expected.tensors
    of_quantizing = [key for key in expected.keys if key.startswith("quantize.") or key in LAST]
    assert list(written.keys)[-len(of_quantizing) :] == of_quantizing
    for key in of_quantizing:
        assert written.keys[key][0] == expected.keys[key][0]
        assert key in NOT_COMPARED or written.keys[key] == expected.keys[key]


LAST = ("general.quantization_version", "general.file_type")


@pytest.mark.parametrize("golden", goldens("quantized"))
def test_a_bf16_gguf_becomes_what_llama_quantize_makes_of_it(golden, gguf, tmp_path):
    name, type, _ = quantized(golden)
    quantize(gguf(name, "llama.cpp"), tmp_path / "x.gguf", type=type, jobs=2)
    assert_made(golden, tmp_path / "x.gguf")


@pytest.mark.parametrize("golden", goldens("imatrix"))
def test_with_an_importance_matrix_it_becomes_what_llama_quantize_makes_of_it(golden, gguf, tmp_path):
    name, type, matrix = quantized(golden)
    quantize(gguf(name, "llama.cpp"), tmp_path / "x.gguf", type=type, imatrix=matrix, jobs=2)
    assert_made(golden, tmp_path / "x.gguf")


@pytest.mark.parametrize("golden", goldens("quantized-ollama"))
def test_a_file_in_ollamas_layout_becomes_what_ollama_makes_of_it(golden, gguf, tmp_path):
    name, type, _ = quantized(golden)
    quantize(gguf(name, "ollama"), tmp_path / "x.gguf", type=type, jobs=2)
    written, expected = describe_written(tmp_path / "x.gguf"), read_golden("quantized-ollama", golden.stem)
    assert written.by_name() == expected.by_name()
    assert written.keys["general.file_type"] == expected.keys["general.file_type"]


@pytest.mark.parametrize("golden", goldens("requantized"))
def test_a_quantized_gguf_becomes_what_llama_quantize_makes_of_it_if_that_is_allowed(golden, gguf, tmp_path):
    name, first, second = golden.stem.rsplit("-", 2)
    quantize(gguf(name, "llama.cpp"), tmp_path / "first.gguf", type=first.lower(), jobs=2)
    quantize(tmp_path / "first.gguf", tmp_path / "x.gguf", type=second.lower(), allow_requantize=True, jobs=2)
    assert_made(golden, tmp_path / "x.gguf")


@pytest.mark.parametrize("type", ["f32", "f16", "bf16", "copy"])
def test_an_unquantized_type_gives_what_llama_quantize_gives(type, gguf, tmp_path):
    quantize(gguf("v3-bf16", "llama.cpp"), tmp_path / "x.gguf", type=type, jobs=2)
    assert_made(GOLDENS / "options" / f"{type}.json", tmp_path / "x.gguf")


@pytest.fixture(scope="module")
def split_set(checkpoint, tmp_path_factory):
    """The files that the goldens of split sets were made of."""
    output = tmp_path_factory.mktemp("split") / "v3.gguf"
    report = convert(checkpoint("v3-bf16"), output, target="llama.cpp", split_max_tensors=20, jobs=2)
    return [file.path for file in report.files]


@pytest.mark.parametrize("given", [0, 2], ids=["first", "last"])
def test_a_split_set_becomes_one_file_whichever_of_its_files_is_given(given, split_set, tmp_path):
    quantize(split_set[given], tmp_path / "x.gguf", type="q4_k_m", jobs=2)
    assert_made(GOLDENS / "options" / "split-input-joined-Q4_K_M.json", tmp_path / "x.gguf")


def test_a_split_set_that_is_kept_becomes_one_of_the_same_tensors(split_set, tmp_path):
    report = quantize(split_set[0], tmp_path / "x.gguf", type="q4_k_m", keep_split=True, jobs=2)
    names = [f"x-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert [file.path.name for file in report.files] == names
    for name in names:
        written = describe_written(tmp_path / name)
        expected = read_golden("options", f"keep-split-Q4_K_M-{name[2:-5]}")
        assert written.tensors == expected.tensors
        assert list(written.keys)[-5:] == list(expected.keys)[-5:]
        assert {key: written.keys[key] for key in list(expected.keys)[-5:]} == dict(list(expected.keys.items())[-5:])


def test_no_golden_is_left_out():
    counts = {folder: len(goldens(folder)) for folder in ("quantized", "imatrix", "quantized-ollama", "requantized")}
    assert counts == {"quantized": 55, "imatrix": 47, "quantized-ollama": 22, "requantized": 9}


def test_an_engine_that_has_no_such_files_is_refused_by_those_that_it_has(gguf):
    with pytest.raises(UsageError, match=r"'deepseekocr', expected one of ((?!deepseekocr).)* for llama.cpp; leave "):
        plan_quantize(gguf("ocr", "ollama"), type="q8_0", target="llama.cpp")
