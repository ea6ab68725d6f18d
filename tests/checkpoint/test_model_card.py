from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.checkpoint.model_card import (
    ModelCard,
    Related,
    general_keys,
    parse_model_card,
    read_model_card,
)
from deepgguf.checkpoint.yaml_head import MAX_BYTES
from deepgguf.files.local import LocalFiles
from deepgguf.formats.gguf.types import Value, ValueType

UNKNOWN = (0, 0, 0, 0)
DEEPSEEK_V3 = (671_026_419_200, 17_228_242_944, 2_553_938_944, 256)

# The head of deepseek-ai/DeepSeek-OCR, in the fields' order there.
OCR = b"""---
pipeline_tag: image-text-to-text
language:
- multilingual
tags:
- deepseek
- vision-language
- ocr
- custom_code
license: mit
library_name: transformers
---
# DeepSeek-OCR
"""

EVERYTHING = b"""---
name: Merged Model
author: A. Author
version: "1.10"
organization: Some Lab
description: Two lines
  in one.
finetune: Chat
basename: Merged
size_label: 8x7B
url: https://example.org/model
doi: 10.1000/182
uuid: 123e4567-e89b-12d3-a456-426614174000
repo_url: https://example.org/repo
license: [mit, other]
license_name: deepseek
license_link: LICENSE
language: [en, zh]
pipeline_tag: text-generation
tags: [moe, fp8]
base_model:
- deepseek-ai/DeepSeek-V3-0324
- https://huggingface.co/deepseek-ai/DeepSeek-V2-Lite-Chat
- https://example.org/parent
- {name: Parent, author: Somebody, doi: 10.1000/183}
datasets:
- HuggingFaceH4/ultrachat_200k
---
"""


def card_of(document: bytes) -> ModelCard:
    card, warnings = parse_model_card(document)
    assert warnings == ()
    return card


def warnings_of(document: bytes) -> tuple[str, ...]:
    card, warnings = parse_model_card(document)
    assert card == ModelCard()
    return warnings


def string(text: str) -> Value:
    return Value(ValueType.STRING, text)


def strings(*texts: str) -> Value:
    return Value(ValueType.ARRAY, list(texts), ValueType.STRING)


def written_by_gguf_py(folder: Path, parameters: tuple[int, int, int, int]) -> dict[str, Value]:
    """What the converter of llama.cpp does with a folder (conversion/base.py, prepare_metadata)."""
    metadata = gguf.Metadata.load(model_path=folder, total_params=parameters[0])
    if metadata.size_label is None and parameters[0] > 0:
        metadata.size_label = gguf.size_label(*parameters)
    writer = gguf.GGUFWriter(None, "deepseek2")
    metadata.set_gguf_meta_model(writer)
    (keys,) = writer.kv_data
    del keys["general.architecture"]
    return {
        key: Value(
            ValueType(entry.type),
            entry.value,
            ValueType.STRING if entry.type == gguf.GGUFValueType.ARRAY else None,
        )
        for key, entry in keys.items()
    }


def test_a_published_card_is_read():
    assert card_of(OCR) == ModelCard(
        license="mit",
        tags=("deepseek", "vision-language", "ocr", "custom_code", "image-text-to-text"),
        languages=("multilingual",),
    )


@pytest.mark.parametrize("parameters", [UNKNOWN, DEEPSEEK_V3])
@pytest.mark.parametrize("card", [OCR, EVERYTHING, b"# no head\n", b"---\nlicense: mit\nmodel_name: A-b-7B\n---\n"])
@pytest.mark.parametrize(
    "name", ["DeepSeek-V3", "DeepSeek-V3-0324", "DeepSeek-V2-Lite-Chat", "DeepSeek-R1-Distill-Qwen-32B", "v3-bf16"]
)
def test_the_keys_are_those_of_gguf_py(card, name, parameters, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "README.md").write_bytes(card)
    ours = general_keys(read_model_card(LocalFiles(folder))[0], name, parameters)
    assert ours == written_by_gguf_py(folder, parameters)


def test_the_name_in_the_config_comes_before_the_folders(tmp_path):
    (tmp_path / "config.json").write_text('{"_name_or_path": "deepseek-ai/DeepSeek-OCR"}')
    ours = general_keys(ModelCard(), tmp_path.name, UNKNOWN, model_id="deepseek-ai/DeepSeek-OCR")
    assert ours["general.name"] == string("DeepSeek OCR")
    assert ours["general.organization"] == string("Deepseek Ai")
    assert {key: written_by_gguf_py(tmp_path, UNKNOWN)[key] for key in ours} == ours


def test_a_path_in_the_config_is_not_a_name():
    keys = general_keys(ModelCard(), "DeepSeek-V3", UNKNOWN, model_id="/home/someone/checkpoints")
    assert keys == {"general.name": string("DeepSeek V3"), "general.basename": string("DeepSeek"), "general.version": string("V3")}  # fmt: skip


def test_base_models_are_ids_urls_or_fields():
    assert card_of(EVERYTHING).base_models == (
        Related(
            name="DeepSeek V3 0324",
            organization="Deepseek Ai",
            version="V3-0324",
            repo_url="https://huggingface.co/deepseek-ai/DeepSeek-V3-0324",
        ),
        Related(
            name="DeepSeek V2 Lite Chat",
            organization="Deepseek Ai",
            repo_url="https://huggingface.co/deepseek-ai/DeepSeek-V2-Lite-Chat",
        ),
        Related(repo_url="https://example.org/parent"),
        Related(name="Parent", author="Somebody", doi="10.1000/183"),
    )


def test_lists_are_arrays_of_strings_and_counts_are_uint32():
    keys = general_keys(card_of(EVERYTHING), "any", UNKNOWN)
    assert keys["general.tags"] == strings("moe", "fp8", "text-generation")
    assert keys["general.languages"] == strings("en", "zh")
    assert keys["general.base_model.count"] == Value(ValueType.UINT32, 4)
    assert keys["general.dataset.count"] == Value(ValueType.UINT32, 1)


def test_several_licenses_are_joined_by_commas():
    assert general_keys(card_of(EVERYTHING), "any", UNKNOWN)["general.license"] == string("mit,other")


def test_scalars_keep_their_text():
    card = card_of(b"---\nlanguage:\n- no\n- on\nversion: 1.10\nlicense: 2024-02-30\n---\n")
    assert (card.languages, card.version, card.license) == (("no", "on"), "1.10", "2024-02-30")


@pytest.mark.parametrize("nothing", [b"", b"~", b"null", b"''", b"[]"])
def test_a_field_without_value_gives_no_key(nothing):
    document = b"---\nlicense: %s\ntags: %s\nlanguage: %s\nbase_model: %s\n---\n" % ((nothing,) * 4)
    assert general_keys(card_of(document), "model", UNKNOWN) == {"general.name": string("Model")}


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"# DeepSeek-V3\n",
        b"<!-- markdownlint-disable -->\n---\nlicense: mit\n---\n",
        b"---\n---\n",
        b"---\n# c\n---",
    ],
)
def test_a_card_without_a_head_gives_no_keys_and_no_warning(document):
    assert parse_model_card(document) == (ModelCard(), ())


@pytest.mark.parametrize("end", [b"\r\n", b"  \n", b"\n"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(end):
    assert card_of(b"\xef\xbb\xbf---" + end + b"license: mit" + end + b"---" + end).license == "mit"


def test_tabs_indent_as_two_spaces():
    assert card_of(b"---\nbase_model:\n\t- name: Parent\n---\n").base_models == (Related(name="Parent"),)


@pytest.mark.parametrize(
    "head, why",
    [
        (b"a: &x [1]\nb: c\n", "the head has an anchor or alias in line 2"),
        (b"b: c\na: *x\n", "the head has an anchor or alias in line 3"),
        (b"a: " + b"[" * 17 + b"]" * 17, "the head is nested deeper than 16 levels in line 2"),
        (b"[" * 60_000, "the head is nested deeper than 16 levels in line 2"),
        (b"a: [" + b"1," * 20_000 + b"]", "the head has more than 10,000 values"),
        (b"- a\n", "the head is not a mapping of names to values"),
        (b"mit\n", "the head is not a mapping of names to values"),
        (b"a: \xff\n", "the head is not UTF-8 at byte 3"),
        (b'a: "\\UFFFFFFFF"\n', "the head is not YAML: an escape or a version number is out of range"),
        (b"%YAML " + b"9" * 5000 + b".1\n", "the head is not YAML: an escape or a version number is out of range"),
    ],
)
def test_a_hostile_or_broken_head_is_a_warning(head, why):
    assert warnings_of(b"---\n" + head + b"\n---\n") == (f"README.md: {why}; nothing of it is written into the file",)


@pytest.mark.parametrize(
    "head", [b"a: [\n", b"a: b: c\n", b"? [a]\n: b\n", b"a: 1\n--- b\n", b"license: \x1b[2J\n", b"a: !<\n"]
)
def test_what_is_no_yaml_is_a_warning_of_one_line(head):
    (warning,) = warnings_of(b"---\n" + head + b"---\n")
    assert warning.startswith("README.md: the head is not YAML: ")
    assert warning.isprintable()


def test_a_head_without_end_is_a_warning():
    (warning,) = warnings_of(b"---\nlicense: mit\n")
    assert warning.startswith("README.md: the head has no closing line --- within 65,536 bytes")


def test_a_head_beyond_the_cap_is_not_read():
    (warning,) = warnings_of(b"---\n" + b"# c\n" * MAX_BYTES + b"---\n")
    assert warning.startswith("README.md: the head has no closing line --- within 65,536 bytes")


def test_alias_bombs_are_never_expanded():
    layers = b"".join(b"l%d: &l%d [%s]\n" % (i, i, b",".join([b"*l%d" % (i - 1)] * 9)) for i in range(1, 30))
    (warning,) = warnings_of(b"---\nl0: &l0 x\n" + layers + b"---\n")
    assert "anchor or alias" in warning


@pytest.mark.parametrize(
    "head, field, why",
    [
        (b"license: {a: b}", "license", "is a list or mapping, expected text"),
        (b"tags: [[a]]", "tags", "is a list or mapping, expected text"),
        (b"name: [a]", "name", "is a list or mapping, expected text"),
        (b"base_model: {name: [a]}", "base_model.name", "is a list or mapping, expected text"),
        (b'name: "\\uD800"', "name", "has control characters or half a surrogate pair"),
        (b'license: "a\\0b"', "license", "has control characters or half a surrogate pair"),
    ],
)
def test_an_unusable_field_is_left_out_with_a_warning_and_the_others_stay(head, field, why):
    card, warnings = parse_model_card(b"---\nversion: V3\n" + head + b"\n---\n")
    assert warnings == (f"README.md: {field} {why}; it is left out",)
    assert card.version == "V3"
    assert (card.license, card.tags, card.name) == (None, (), None)


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything(head):
    card, warnings = parse_model_card(b"---\n" + head + b"\n---\n")
    assert isinstance(card, ModelCard)
    assert all("\n" not in warning for warning in warnings)


@given(st.text(alphabet="abno:-?[]{},&*!|>'\"%@`# \n\t\\UxF0129.~", max_size=200))
def test_no_yaml_raises_anything_and_what_is_read_can_be_written(head):
    card, _ = parse_model_card(f"---\nname: {head}\n---\n".encode())
    for value in general_keys(card, "model", UNKNOWN).values():
        for text in value.value if isinstance(value.value, list) else [value.value]:
            str(text).encode()


def test_no_readme_is_no_reason_to_warn(tmp_path):
    assert read_model_card(LocalFiles(tmp_path)) == (ModelCard(), ())


def test_a_readme_that_is_a_folder_is_a_warning(tmp_path):
    (tmp_path / "README.md").mkdir()
    card, (warning,) = read_model_card(LocalFiles(tmp_path))
    assert card == ModelCard()
    assert warning.startswith("README.md: ")


def test_a_readme_that_points_out_of_the_checkpoint_is_not_read(tmp_path):
    (tmp_path / "secret").write_text("---\nlicense: secret\n---\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").symlink_to(tmp_path / "secret")
    card, (warning,) = read_model_card(LocalFiles(tmp_path / "model"))
    assert card == ModelCard()
    assert warning.startswith("README.md: a symlink to ")


def test_a_snapshot_of_the_hubs_cache_says_where_the_weights_came_from(tmp_path):
    snapshot = tmp_path / "models--deepseek-ai--DeepSeek-V3" / "snapshots" / "e815299b"
    snapshot.mkdir(parents=True)
    blob = tmp_path / "models--deepseek-ai--DeepSeek-V3" / "blobs" / "0123"
    blob.parent.mkdir()
    blob.write_bytes(b"---\nlicense: mit\n---\n")
    (snapshot / "README.md").symlink_to("../../blobs/0123")
    card, warnings = read_model_card(LocalFiles(snapshot))
    assert warnings == ()
    assert general_keys(card, "DeepSeek-V3", UNKNOWN) == {
        "general.name": string("DeepSeek V3"),
        "general.organization": string("Deepseek Ai"),
        "general.basename": string("DeepSeek"),
        "general.version": string("V3"),
        "general.license": string("mit"),
        "general.source.url": string("https://huggingface.co/deepseek-ai/DeepSeek-V3/tree/e815299b"),
        "general.source.repo_url": string("https://huggingface.co/deepseek-ai/DeepSeek-V3"),
    }


def test_the_cards_own_source_comes_before_the_hubs():
    card = ModelCard(repository="a/b", revision="c", url="https://example.org", repo_url="https://example.org/git")
    keys = general_keys(card, "b", UNKNOWN)
    assert keys["general.source.url"] == string("https://example.org")
    assert keys["general.source.repo_url"] == string("https://example.org/git")


def test_the_size_label_counts_experts():
    assert general_keys(ModelCard(), "model", DEEPSEEK_V3)["general.size_label"] == string("256x20B")


def test_the_size_in_the_name_comes_before_the_counted_one():
    keys = general_keys(ModelCard(), "DeepSeek-LLM-67B-Chat", (67_000_000_000, 67_000_000_000, 0, 0))
    assert keys["general.size_label"] == string("67B")
