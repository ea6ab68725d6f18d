"""Every conversion of the samples is byte-identical to the output of the reference converters and llama-quantize."""

from pathlib import Path
from typing import NamedTuple

import pytest

from deepgguf import convert
from golden import GOLDENS, Golden, describe_written, read_golden

SAMPLES = ("v3-bf16", "v3-fp8", "v3-tied", "v2-lite", "ocr")


def uint32(value: int) -> tuple[list[str], int]:
    return ["UINT32"], value


# What deepgguf's files for Ollama hold otherwise than those of Ollama's own converter, and nothing else.
CORRECTIONS = {
    "v3-bf16": {"deepseek2.expert_group_count": uint32(3), "deepseek2.expert_group_used_count": uint32(1)},
    "v3-fp8": {"deepseek2.expert_group_count": uint32(3), "deepseek2.expert_group_used_count": uint32(1)},
    "v3-tied": {"deepseek2.expert_group_count": uint32(4), "deepseek2.expert_group_used_count": uint32(2)},
    "v2-lite": {},  # its golden was made by deepgguf's rules: Ollama knows no V2
    "ocr": {
        "deepseekocr.attention.layer_norm_rms_epsilon": (["FLOAT32"], 9.999999974752427e-07),
        "deepseekocr.expert_feed_forward_length": uint32(64),
        "deepseekocr.expert_shared_count": uint32(2),
        "deepseekocr.vocab_size": uint32(544),
        "tokenizer.ggml.pre": (["STRING"], "deepseek-v3"),
    },
}


class Written(NamedTuple):
    text: Golden
    mmproj: Golden | None = None


@pytest.fixture(scope="module")
def converted(checkpoint, tmp_path_factory):
    """`converted(name, target, type)`: both files described; each conversion is made once."""
    made: dict[tuple[str, str, str], Written] = {}

    def make(name: str, target: str, type: str = "auto") -> Written:
        if (name, target, type) not in made:
            report = convert(checkpoint(name), folder(tmp_path_factory), target=target, type=type, jobs=2)
            made[name, target, type] = Written(*(describe_written(file.path) for file in report.files))
        return made[name, target, type]

    return make


def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("goldens")


@pytest.mark.parametrize("name", SAMPLES)
def test_tensors_for_ollama_have_ollamas_order_names_types_shapes_offsets_and_bytes(converted, name):
    assert converted(name, "ollama").text.tensors == read_golden("ollama", name).tensors


@pytest.mark.parametrize("name", SAMPLES)
def test_keys_for_ollama_are_ollamas_but_for_the_listed_corrections(converted, name):
    written = converted(name, "ollama")
    assert written.text.keys == read_golden("ollama", name).keys | CORRECTIONS[name]
    assert written.mmproj is None


@pytest.mark.parametrize("name", SAMPLES)
def test_tensors_for_llamacpp_are_those_of_its_converter(converted, name):
    assert converted(name, "llama.cpp").text.by_name() == read_golden("llama.cpp", name).by_name()


@pytest.mark.parametrize("name", SAMPLES)
def test_keys_for_llamacpp_are_those_of_its_converter(converted, name):
    assert converted(name, "llama.cpp").text.keys == read_golden("llama.cpp", name).keys


@pytest.mark.parametrize("type", ["bf16", "f16"])
def test_the_mmproj_is_that_of_llamacpps_converter(converted, type):
    written, golden = converted("ocr", "llama.cpp", type).mmproj, read_golden("llama.cpp", f"ocr-mmproj-{type}")
    assert written.by_name() == golden.by_name()
    assert written.keys == golden.keys


def test_the_automatic_type_of_a_bf16_checkpoints_mmproj_is_bf16(converted):
    golden = read_golden("llama.cpp", "ocr-mmproj-bf16")
    assert converted("ocr", "llama.cpp").mmproj.by_name() == golden.by_name()


class Quantized(NamedTuple):
    """A file of the quantized goldens: its checkpoint, its recipe, the form of its importance matrix."""

    checkpoint: str
    recipe: str
    matrix: Path | None


def quantized(golden: Path) -> Quantized:
    """`v3-bf16-dat-Q4_K_M` is quantized with the importance matrix in its older form."""
    stem, recipe = golden.stem.rsplit("-", 1)
    name = stem.removesuffix("-dat")
    if golden.parent.name != "imatrix":
        return Quantized(name, recipe.lower(), None)
    return Quantized(name, recipe.lower(), golden.with_name(f"imatrix-{name}.{'dat' if stem != name else 'gguf'}"))


def files(folder: str):
    paths = sorted((GOLDENS / folder).glob("*.json"))
    return [pytest.param(path, id=path.stem) for path in paths]


def assert_quantized_alike(golden: Path, source: Path, output: Path, target: str) -> Golden:
    """Type, shape and bytes of every tensor, and the file's type; gives what was written."""
    _, recipe, matrix = quantized(golden)
    convert(source, output, target=target, type=recipe, imatrix=matrix, only="text", jobs=2)
    written, expected = describe_written(output), read_golden(golden.parent.name, golden.stem)
    assert written.by_name() == expected.by_name()
    assert written.keys["general.file_type"] == expected.keys["general.file_type"]
    return written


@pytest.mark.parametrize("golden", files("quantized"))
def test_quantizing_in_one_pass_gives_the_bytes_of_converter_and_llama_quantize(golden, checkpoint, tmp_path):
    source = checkpoint(quantized(golden).checkpoint)
    written = assert_quantized_alike(golden, source, tmp_path / "x.gguf", "llama.cpp")
    assert not [key for key in written.keys if key.startswith("quantize.imatrix.")]


@pytest.mark.parametrize("golden", files("quantized-ollama"))
def test_quantizing_ollamas_layout_gives_the_bytes_of_llama_quantize(golden, checkpoint, tmp_path):
    source = checkpoint(quantized(golden).checkpoint)
    assert_quantized_alike(golden, source, tmp_path / "x.gguf", "ollama")


@pytest.mark.parametrize("golden", files("imatrix"))
def test_quantizing_with_an_importance_matrix_gives_the_bytes_of_llama_quantize(golden, checkpoint, tmp_path):
    source = checkpoint(quantized(golden).checkpoint)
    written = assert_quantized_alike(golden, source, tmp_path / "x.gguf", "llama.cpp")
    expected = read_golden("imatrix", golden.stem).keys
    for key in ("quantize.imatrix.entries_count", "quantize.imatrix.chunks_count"):
        assert written.keys[key] == expected[key]
    for key in ("quantize.imatrix.file", "quantize.imatrix.dataset"):
        assert written.keys[key][0] == expected[key][0] == ["STRING"]


def test_no_golden_is_left_out():
    assert {folder: len(files(folder)) for folder in ("ollama", "llama.cpp", "quantized", "quantized-ollama", "imatrix")} == {
        "ollama": 5, "llama.cpp": 8, "quantized": 76, "quantized-ollama": 22, "imatrix": 47,
    }  # fmt: skip


def test_ollamas_deepseekocr_is_quantized_like_llamacpps_and_its_encoders_are_kept(checkpoint, tmp_path):
    convert(checkpoint("ocr"), tmp_path / "x.gguf", type="q8_0", jobs=2)
    encoders = [t for t in read_golden("ollama", "ocr").tensors if t.name.startswith(("v.", "s.", "mm."))]
    expected = read_golden("quantized", "ocr-Q8_0").by_name() | {t.name: (t.type, t.shape, t.sha256) for t in encoders}
    assert describe_written(tmp_path / "x.gguf").by_name() == expected
