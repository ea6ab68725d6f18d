"""The description of headers: totals, shortened arrays, JSON; and how it is shown."""

import io

import msgspec
import pytest
from rich.console import Console

from deepgguf.formats.gguf.describe import Description, TypeDescription, describe
from deepgguf.formats.gguf.encode import lay_out
from deepgguf.formats.gguf.types import GGMLType, GGUFHeader, Value, ValueType
from deepgguf.terminal.inspect_tables import render

KEYS = {
    "general.architecture": Value(ValueType.STRING, "deepseek2"),
    "general.name": Value(ValueType.STRING, "Sample"),
    "general.file_type": Value(ValueType.UINT32, 15),
    "tokens": Value(ValueType.ARRAY, [f"t{n}" for n in range(17)], ValueType.STRING),
    "short": Value(ValueType.ARRAY, list(range(16)), ValueType.INT32),
}
TENSORS = lay_out(
    [
        ("blk.0.attn_q.weight", GGMLType.Q4_K, (2, 256)),
        ("blk.1.attn_q.weight", GGMLType.Q4_K, (2, 256)),
        ("blk.3.attn_q.weight", GGMLType.Q4_K, (2, 256)),
        ("output_norm.weight", GGMLType.F32, (256,)),
    ]
)


def header(keys: dict[str, Value] = KEYS, path: str = "model.gguf") -> GGUFHeader:
    return GGUFHeader(path, 3, 32, 960, keys, TENSORS, 960 + 3 * 288 + 1024)


def shown(description: Description, show_tensors: bool = False) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(render(description, show_tensors))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_head_and_totals() -> None:
    description = describe([header()])
    assert (description.architecture, description.name, description.file_type) == ("deepseek2", "Sample", "Q4_K_M")
    assert (description.parameters, description.size) == (3 * 512 + 256, 2848)
    assert description.bits_per_weight == (3 * 288 + 1024) * 8 / 1792
    assert description.types == (TypeDescription("F32", 1, 256, 1024), TypeDescription("Q4_K", 3, 1536, 864))


def test_an_array_of_more_than_16_items_is_shortened_to_eight_and_says_its_length() -> None:
    keys = {key.name: key for key in describe([header()]).keys}
    assert keys["tokens"].value == [f"t{n}" for n in range(8)]
    assert (keys["tokens"].type, keys["tokens"].item_type, keys["tokens"].length) == ("ARRAY", "STRING", 17)
    assert keys["short"].value == list(range(16))


def test_what_the_file_does_not_say_is_none() -> None:
    description = describe([GGUFHeader("vocabulary.gguf", 3, 32, 32, {}, (), 32)])
    assert (description.architecture, description.name, description.file_type) == (None, None, None)
    assert (description.parameters, description.bits_per_weight, description.types) == (0, None, ())


@pytest.mark.parametrize(
    ("number", "types", "line"),
    [
        (
            1,
            (GGMLType.BF16, GGMLType.F32),
            "file type BF16, as its tensors are (general.file_type says F16)",
        ),
        (1, (GGMLType.F16, GGMLType.F32), "file type F16"),
        (15, (GGMLType.Q6_K, GGMLType.F32), "file type Q4_K_M"),
    ],
)
def test_a_type_that_no_tensor_has_is_told_apart_from_what_the_tensors_are(number, types, line) -> None:
    """Ollama has no number for BF16, and calls such files F16."""
    tensors = lay_out([(f"blk.{n}.attn_q.weight", type, (9 - 8 * n, 256)) for n, type in enumerate(types)])
    keys = {"general.file_type": Value(ValueType.UINT32, number)}
    described = describe([GGUFHeader("model.gguf", 3, 32, 960, keys, tensors, 9600)])
    assert line in shown(described)


def test_a_file_type_of_a_later_engine_is_shown_by_its_number() -> None:
    description = describe([header({"general.file_type": Value(ValueType.UINT32, 77)})])
    assert description.file_type == "unknown (77)"


def test_a_split_set_is_described_as_one_model() -> None:
    description = describe([header(), header({}, "second.gguf")])
    assert [file.path for file in description.files] == ["model.gguf", "second.gguf"]
    assert (description.size, description.parameters, description.name) == (2 * 2848, 2 * 1792, "Sample")
    assert [tensor.file for tensor in description.tensors] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_the_description_survives_json() -> None:
    description = describe([header()])
    assert msgspec.json.decode(msgspec.json.encode(description), type=Description) == description


def test_similar_tensors_of_several_blocks_share_a_line() -> None:
    lines = shown(describe([header()]))
    assert "blk.*.attn_q.weight 0–1, 3 Q4_K 2 × 256 864 B" in lines
    assert "output_norm.weight F32 256 1.02 kB" in lines


def test_every_tensor_has_its_own_line_on_request() -> None:
    lines = shown(describe([header()]), show_tensors=True)
    assert "blk.1.attn_q.weight Q4_K 2 × 256 288 288 B" in lines


def test_the_true_type_is_that_of_the_tensors_where_none_has_the_plain_type_that_the_key_says() -> None:
    says_f16 = describe([header(KEYS | {"general.file_type": Value(ValueType.UINT32, 1)})])
    assert (says_f16.file_type, says_f16.true_type) == ("F16", "F32")
    assert msgspec.to_builtins(says_f16)["true_type"] == "F32"
    assert describe([header()]).true_type == "Q4_K_M"
    assert describe([header({})]).true_type is None


def test_types_are_shown_with_their_share_of_the_bytes() -> None:
    assert "F32 1 256 1.02 kB 54.2%" in shown(describe([header()]))


def test_a_long_array_is_shown_by_its_first_items_and_its_length() -> None:
    assert "tokens string × 17 ['t0', 't1', 't2', 't3', 't4', 't5', 't6', 't7', …]" in shown(describe([header()]))


def test_a_long_string_is_cut_and_its_length_shown() -> None:
    lines = shown(describe([header({"template": Value(ValueType.STRING, "x" * 5000)})]))
    assert any("… (5,000 characters)" in line for line in lines)


def test_control_and_bidi_characters_are_shown_escaped() -> None:
    hostile = "\x1b[2J[bold]\u202ex\n"
    keys = {
        hostile: Value(ValueType.STRING, hostile),
        "general.architecture": Value(ValueType.STRING, hostile),
        "a": Value(ValueType.ARRAY, [hostile], ValueType.STRING),
    }
    (tensor,) = lay_out([(hostile, GGMLType.F32, (1,))])
    description = describe([GGUFHeader(hostile, 3, 32, 32, keys, (tensor,), 36)])
    for show_tensors in (False, True):
        text = "\n".join(shown(description, show_tensors))
        assert not set("\x1b\u202e") & set(text)
        assert text.count(r"\x1b[2J[bold]\u202ex\x0a") == 4  # file, architecture, key, tensor
        assert text.count(r"'\x1b[2J[bold]\u202ex\n'") == 3  # two values, one item
