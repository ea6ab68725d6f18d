"""Conversions of DeepSeek-OCR-2, Unlimited-OCR and the Kimi-K2 family are byte-identical to those of llama.cpp's converter,
and for Ollama to files that were made by its rules.
"""

import pytest

from deepgguf import convert, verify
from golden import GOLDENS, describe_written, read_golden

FOLDER = "ocr2kimi"
OCR = ("ocr2", "unlimited-ocr")
KIMI = ("kimi-k2", "kimi-k2-thinking", "kimi-k25", "moonlight")
SEEING = (*OCR, "kimi-k25")
INT4 = ("kimi-k2-thinking", "kimi-k25")

# What the model's card says, or its folder's name where it has none.
FREE = ("general.name", "general.version", "general.organization", "general.basename", "general.size_label")

# What deepgguf's files for Ollama have besides.
CORRECTIONS = {
    "unlimited-ocr": {
        "tokenizer.chat_template": (["STRING"], "{% for m in messages %}{{m['content']}}{% endfor %}"),
    },
    "kimi-k2": {
        "deepseek2.source_quantization": (["STRING"], "hf_fp8"),
        "deepseek2.source_fp8_tensors": (
            ["ARRAY", "STRING"],
            {"len": 30, "sha256": "bb219dba2a24db92d422435b8eb264aaa580298837710b0844ffd5251158e963"},
        ),
    },
}  # fmt: skip


def written(source, folder, **choices):
    """The files that `convert` writes, by kind, after `verify` has found nothing wrong with them."""
    report = convert(source, folder / "x.gguf", jobs=2, **choices)
    for file in report.files:
        verify(file.path, source, jobs=2)
    return {
        "mmproj" if file.path.name.startswith("mmproj") else "text": describe_written(file.path)
        for file in report.files
    }


def own(keys):
    return {key: value for key, value in keys.items() if key not in FREE}


def assert_as(found, name, *, without=()):
    expected = read_golden(FOLDER, name)
    tensors = {tensor: entry for tensor, entry in expected.by_name().items() if tensor not in without}
    assert found.by_name() == tensors
    assert own(found.keys) == own(expected.keys)


@pytest.mark.parametrize("type", ["auto", "f16"])
@pytest.mark.parametrize("name", [*OCR, *KIMI])
def test_files_for_llamacpp_are_those_of_its_converter(name, type, checkpoint, tmp_path):
    found, suffix = (
        written(checkpoint(name), tmp_path, target="llama.cpp", type=type),
        "" if type == "auto" else f"-{type}",
    )
    assert found.keys() == ({"text", "mmproj"} if name in SEEING else {"text"})
    assert_as(found["text"], f"{name}{suffix}")
    if name in SEEING:
        assert_as(found["mmproj"], f"{name}-mmproj{suffix}")


@pytest.mark.parametrize("name", INT4)
def test_int4_experts_become_q4_0_blocks_with_their_own_scales(name, checkpoint, tmp_path):
    found = written(checkpoint(name), tmp_path, target="llama.cpp", type="source", only="text")
    assert_as(found["text"], f"{name}-exact-q4_0")


@pytest.mark.parametrize("name", ["unlimited-ocr", *KIMI])
def test_files_for_ollama_have_its_order_names_types_offsets_bytes_and_keys(name, checkpoint, tmp_path):
    found, expected = written(checkpoint(name), tmp_path, target="ollama"), read_golden(FOLDER, f"{name}-ollama")
    assert found.keys() == {"text"}
    assert found["text"].tensors == expected.tensors
    assert found["text"].keys == expected.keys | CORRECTIONS.get(name, {})


def test_ocr2_for_ollama_is_the_same_two_files(checkpoint, tmp_path):
    for target in ("ollama", "llama.cpp"):
        (tmp_path / target).mkdir()
        convert(checkpoint("ocr2"), tmp_path / target / "x.gguf", target=target, jobs=2)
    for name in ("x.gguf", "mmproj-x.gguf"):
        assert (tmp_path / "ollama" / name).read_bytes() == (tmp_path / "llama.cpp" / name).read_bytes()


# transformers has no module for CLIP's own patch embedding, which nothing uses.
@pytest.mark.parametrize("form", ["resaved", "hf"])
@pytest.mark.parametrize(("name", "without"), [("ocr2", ()), ("unlimited-ocr", ("v.patch_embd.weight",))])
def test_what_transformers_writes_gives_the_releases_files(name, without, form, checkpoint, tmp_path):
    found = written(checkpoint(f"{name}-{form}"), tmp_path, target="llama.cpp")
    assert_as(found["text"], name)
    assert_as(found["mmproj"], f"{name}-mmproj", without=without)


def test_no_golden_is_left_out():
    assert len(list((GOLDENS / FOLDER).glob("*.json"))) == 25
