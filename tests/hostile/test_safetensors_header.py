"""Rows 1 to 15, 42 and 43: damaged safetensors headers, and tensor names that do harm."""

import json
from pathlib import Path

import pytest
from checkpoints import (
    SHARDS,
    edit_header,
    edit_tensor,
    first_tensor,
    header,
    planned,
    put_header_text,
    refused,
    sample,
)

from deepgguf.formats.safetensors import HEADER_CAP


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sample(tmp_path / "v3")


@pytest.fixture
def shard(folder: Path) -> Path:
    return folder / SHARDS[1]


@pytest.mark.parametrize("size", [0, 1, 7])
def test_row_01_a_file_under_8_bytes_is_refused(folder, shard, size):
    shard.write_bytes(b"\x10" * size)
    assert refused(folder) == f"{shard.name}: {size} bytes, too short for a safetensors file; download the file again"


def test_row_02_a_header_length_of_0_is_refused(folder, shard):
    put_header_text(shard, b"")
    assert refused(folder).startswith(f"{shard.name}: the header does not begin with '{{'")


@pytest.mark.parametrize("length", [HEADER_CAP + 1, 2**63, 2**64 - 1])
def test_row_02_a_header_length_over_the_cap_is_refused(folder, shard, length):
    shard.write_bytes(length.to_bytes(8, "little") + b"{}")
    assert refused(folder) == f"{shard.name}: a header of {length:,} bytes, more than the 32,000,000 that are allowed"


def test_row_02_a_header_length_beyond_the_file_is_refused(folder, shard):
    shard.write_bytes((3).to_bytes(8, "little") + b"{}")
    assert refused(folder).startswith(f"{shard.name}: a header of 3 bytes at byte 8 ends after the file's 10 bytes")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"\xc3\x28": {}}', "not UTF-8 at byte 2"),
        (b"\xef\xbb\xbf{}", "the header does not begin with '{'"),
        (b" {}", "the header does not begin with '{'"),
        (b"[]", "the header does not begin with '{'"),
        (b'{"a"}', "not JSON at character 4"),
        (b"{}\0", "not JSON at character 2"),
    ],
)
def test_row_03_a_header_that_is_not_a_json_object_in_utf8_is_refused(folder, shard, text, found):
    put_header_text(shard, text)
    assert refused(folder).startswith(f"{shard.name}: {found}")


@pytest.mark.parametrize("text", [b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b'{"a":' + b"[" * 999_000])
def test_row_04_deep_nesting_is_refused(folder, shard, text):
    put_header_text(shard, text)
    assert refused(folder) == f"{shard.name}: JSON nested too deeply"


def test_row_05_a_number_of_5000_digits_is_refused(folder, shard):
    text = json.dumps(header(shard)).encode()
    put_header_text(shard, text.replace(b'"data_offsets": [0,', b'"data_offsets": [' + b"1" * 5000 + b",", 1))
    assert refused(folder) == f"{shard.name}: a number of 5000 characters, 111111111111…"


def test_row_06_a_duplicate_tensor_is_refused(folder, shard):
    name = first_tensor(shard)
    twice = json.dumps({name: header(shard)[name]})[:-1] + "," + json.dumps(header(shard))[1:]
    put_header_text(shard, twice.encode())
    assert refused(folder) == f"{shard.name}: the key '{name}' appears twice in one object"


def test_row_06_a_duplicate_field_is_refused(folder, shard):
    put_header_text(shard, json.dumps(header(shard)).replace('"dtype"', '"dtype": "F32", "dtype"', 1).encode())
    assert refused(folder) == f"{shard.name}: the key 'dtype' appears twice in one object"


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_row_07_nan_where_an_integer_belongs_is_refused(folder, shard, word):
    put_header_text(shard, json.dumps(header(shard)).replace('"shape": [', f'"shape": [{word}, ', 1).encode())
    assert refused(folder) == f"{shard.name}: {word} is not a JSON number"


@pytest.mark.parametrize("value", [1.0, 1.5, True, None, "256", [256]])
def test_row_07_another_type_where_an_integer_belongs_is_refused(folder, shard, value):
    name = edit_tensor(shard, shape=[value, 256])
    assert refused(folder).startswith(f"{shard.name}, tensor {name}: Expected `int`, got ")


@pytest.mark.parametrize("value", [0.0, False, None, "0"])
def test_row_07_another_type_where_an_offset_belongs_is_refused(folder, shard, value):
    stop = header(shard)[first_tensor(shard)]["data_offsets"][1]
    name = edit_tensor(shard, data_offsets=[value, stop])
    assert refused(folder).startswith(f"{shard.name}, tensor {name}: Expected `int`, got ")


@pytest.mark.parametrize("shape", [[-256, 256], [-256, -256]])
def test_row_07_a_negative_dimension_is_refused(folder, shard, shape):
    name = edit_tensor(shard, shape=shape)
    assert refused(folder).startswith(f"{shard.name}, tensor {name}: shape {shape}, no dimension can be negative")


@pytest.mark.parametrize("entry", [[], "F32", None, {}, {"dtype": "F32"}])
def test_row_07_an_entry_that_does_not_describe_a_tensor_is_refused(folder, shard, entry):
    edit_header(shard, lambda h: h.update(stray=entry))
    assert refused(folder).startswith(f"{shard.name}, tensor stray: ")


def test_row_07_an_unknown_field_is_refused(folder, shard):
    name = edit_tensor(shard, stride=[1])
    assert refused(folder) == f"{shard.name}, tensor {name}: Object contains unknown field `stride`"


@pytest.mark.parametrize("offsets", [[], [0], [0, 1, 2], 0, None, {"0": 1}])
def test_row_08_offsets_that_are_not_a_pair_are_refused(folder, shard, offsets):
    name = edit_tensor(shard, data_offsets=offsets)
    assert refused(folder).startswith(f"{shard.name}, tensor {name}: Expected `array`")


@pytest.mark.parametrize("offsets", [[8, 0], [-8, 0], [-(2**64), -1], [0, -1]])
def test_row_08_offsets_that_end_before_they_start_or_before_the_data_are_refused(folder, shard, offsets):
    name = edit_tensor(shard, data_offsets=offsets)
    assert f"{shard.name}, tensor {name}: data_offsets {offsets} are not a range of bytes" in refused(folder)


def shift_after_first(content: dict, by: int) -> None:
    for name, entry in content.items():
        if name != "__metadata__" and entry["data_offsets"][0] > 0:
            entry["data_offsets"] = [offset + by for offset in entry["data_offsets"]]


def test_row_09_a_hole_is_refused(folder, shard):
    edit_header(shard, lambda content: shift_after_first(content, 8), data_bytes=shard.stat().st_size)
    assert "of the data and leaves a hole, expected" in refused(folder)


def test_row_09_a_hole_before_the_first_tensor_is_refused(folder, shard):
    edit_header(
        shard,
        lambda content: [
            entry.update(data_offsets=[offset + 4 for offset in entry["data_offsets"]])
            for name, entry in content.items()
            if name != "__metadata__"
        ],
    )
    assert "begins at byte 4 of the data and leaves a hole, expected 0" in refused(folder)


def test_row_09_an_overlap_is_refused(folder, shard):
    edit_header(shard, lambda content: shift_after_first(content, -8))
    assert "of the data and overlaps the tensor before it, expected" in refused(folder)


def test_row_09_two_tensors_on_the_same_bytes_are_refused(folder, shard):
    edit_header(shard, lambda content: content.update(again=dict(content[first_tensor(shard)])))
    assert "begins at byte 0 of the data and overlaps the tensor before it" in refused(folder)


@pytest.mark.parametrize("more", [1, -1, -1000, 4096])
def test_row_09_trailing_or_missing_bytes_are_refused(folder, shard, more):
    size = shard.stat().st_size
    with shard.open("r+b") as file:
        file.truncate(size + more)
    assert refused(folder).startswith(f"{shard.name}: {size + more:,} bytes, but header and tensors have {size:,}")


@pytest.mark.parametrize("fields", [{"dtype": "F64"}, {"shape": [1]}, {"shape": [3, 5, 7]}, {"shape": []}])
def test_row_10_an_extent_other_than_dtype_times_shape_is_refused(folder, shard, fields):
    name = edit_tensor(shard, **fields)
    line = refused(folder)
    assert line.startswith(f"{shard.name}, tensor {name}: data_offsets [0, ")
    assert " needs " in line


@pytest.mark.parametrize("shape", [[2**63, 2], [2**32, 2**32], [2**16] * 4, [10**39, 10**39]])
def test_row_11_a_shape_whose_product_overflows_is_refused(folder, shard, shape):
    name = edit_tensor(shard, shape=shape)
    line = refused(folder)
    assert line.startswith(f"{shard.name}, tensor {name}: data_offsets [0, ")
    assert f"{shape} needs " in line


@pytest.mark.parametrize("shape", [[0], [0, 256], [256, 0], [2**64, 0]])
def test_row_11_a_dimension_of_zero_is_refused(folder, shard, shape):
    name = edit_tensor(shard, shape=shape, data_offsets=[0, 0])
    line = refused(folder)
    assert "leaves a hole" in line or line.startswith(f"tensor {name}: has no weights")


@pytest.mark.parametrize("dtype", ["F8", "f32", "FLOAT", "", "BF16 ", "Q4_0"])
def test_row_12_an_unknown_dtype_is_refused(folder, shard, dtype):
    name = edit_tensor(shard, dtype=dtype)
    assert refused(folder) == f"{shard.name}, tensor {name}: unknown dtype '{dtype}'"


def test_row_12_a_dtype_that_is_not_a_string_is_refused(folder, shard):
    name = edit_tensor(shard, dtype=1)
    assert refused(folder) == f"{shard.name}, tensor {name}: Expected `str`, got `int` - at `$.dtype`"


@pytest.mark.parametrize("count", [5, 100_000])
def test_row_13_more_than_4_dimensions_are_refused(folder, shard, count):
    name = edit_tensor(shard, shape=[1] * count)
    assert refused(folder) == f"{shard.name}, tensor {name}: {count} dimensions, at most 4 are allowed"


def test_row_14_empty_tensors_that_fill_the_cap_are_refused(folder, shard):
    entry = '"{:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    text = "{" + ",".join(entry.format(i) for i in range(560_000)) + "}"
    put_header_text(shard, text.encode(), data_bytes=0)
    assert refused(folder).startswith(f"{shard.name}: more than 1,000,000 JSON values")


def test_row_14_a_million_empty_tensors_are_refused(folder, shard):
    entry = '"{:x}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    text = "{" + ",".join(entry.format(i) for i in range(1_000_000)) + "}"
    put_header_text(shard, text.encode(), data_bytes=0)
    assert refused(folder).endswith("more than the 32,000,000 that are allowed")


@pytest.mark.parametrize("metadata", [[], "pt", None, {"format": 1}, {"format": None}, {"format": {"a": "b"}}])
def test_row_15_metadata_that_is_not_strings_is_not_read(folder, shard, metadata):
    edit_header(shard, lambda content: content.update(__metadata__=metadata))
    assert planned(folder)["architecture"] == "deepseek2"


NAMES = {
    "NUL": ("a\0b", "a\\x00b"),
    "newline": ("a\nb", "a\\x0ab"),
    "ANSI": ("\x1b[2Jgone", "\\x1b[2Jgone"),
    "bidi": ("a\u202eb", "a\\u202eb"),
    "zero width": ("a\u200bb", "a\\u200bb"),
    "line separator": ("a\u2028b", "a\\u2028b"),
}


@pytest.mark.parametrize(("name", "shown"), NAMES.values(), ids=NAMES.keys())
def test_row_42_control_and_bidi_characters_in_a_tensor_name_are_refused(folder, shard, name, shown):
    old = first_tensor(shard)
    edit_header(shard, lambda content: content.update({name: content.pop(old)}))
    assert refused(folder) == f"{shard.name}, tensor {shown}: control or invisible characters in a tensor's name"


def test_row_42_half_a_surrogate_pair_in_a_tensor_name_is_refused(folder, shard):
    old = first_tensor(shard)
    edit_header(shard, lambda content: content.update({"a\ud800b": content.pop(old)}))
    assert refused(folder) == f"{shard.name}: half of a surrogate pair in a string, which no UTF-8 text has"


def test_row_42_control_characters_in_a_dtype_are_escaped(folder, shard):
    edit_tensor(shard, dtype="\x1b[31mF32\n")
    assert "\\x1b[31mF32\\n" in refused(folder)


def test_row_43_an_empty_tensor_name_is_refused(folder, shard):
    old = first_tensor(shard)
    edit_header(shard, lambda content: content.update({"": content.pop(old)}))
    assert refused(folder) == f"{shard.name}: a tensor with an empty name"
