"""The decoder gives back what was encoded, and agrees with the independent reader of the package `gguf`."""

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.constants import GGML_QUANT_SIZES
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgguf.errors import GGUFError, OutputError, UsageError
from deepgguf.formats.gguf.decode import decode_header, read_header
from deepgguf.formats.gguf.encode import encode_header, lay_out
from deepgguf.formats.gguf.types import GGMLType, GGUFHeader, TensorInfo, Value, ValueType, block_of

INTEGERS = {
    ValueType.UINT8: (0, 2**8 - 1),
    ValueType.INT8: (-(2**7), 2**7 - 1),
    ValueType.UINT16: (0, 2**16 - 1),
    ValueType.INT16: (-(2**15), 2**15 - 1),
    ValueType.UINT32: (0, 2**32 - 1),
    ValueType.INT32: (-(2**31), 2**31 - 1),
    ValueType.UINT64: (0, 2**64 - 1),
    ValueType.INT64: (-(2**63), 2**63 - 1),
}
ITEMS: dict[ValueType, st.SearchStrategy[object]] = {
    **{type: st.integers(*bounds) for type, bounds in INTEGERS.items()},
    ValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    ValueType.FLOAT64: st.floats(allow_nan=False),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: st.text(st.characters(exclude_characters="\0", codec="utf-8")),
}
SCALARS = st.sampled_from(list(ITEMS)).flatmap(lambda type: ITEMS[type].map(lambda item: Value(type, item)))
ARRAYS = st.sampled_from(list(ITEMS)).flatmap(
    lambda type: st.lists(ITEMS[type]).map(lambda items: Value(ValueType.ARRAY, items, type))
)
NAMES = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=15)
KEYS = st.dictionaries(NAMES.filter(lambda name: name != "general.alignment"), SCALARS | ARRAYS)
SHAPES = st.lists(st.integers(1, 5), max_size=3)
Shapes = list[tuple[str, GGMLType, tuple[int, ...]]]
TYPES_OF_BOTH = [type for type in GGMLType if type in set(GGMLQuantizationType) - {GGMLQuantizationType.Q8_1}]


def tensors_of(types: list[GGMLType]) -> st.SearchStrategy[Shapes]:
    return st.dictionaries(NAMES, st.tuples(st.sampled_from(types), SHAPES, st.integers(1, 3)), max_size=6).map(
        lambda tensors: [(name, type, (*rest, n * block_of(type).weights)) for name, (type, rest, n) in tensors.items()]
    )


def padded(nbytes: int, alignment: int) -> int:
    return nbytes + -nbytes % alignment


def aligned(tensors: Shapes, alignment: int) -> tuple[TensorInfo, ...]:
    """`lay_out` for another alignment than the one that deepgguf writes."""
    infos, offset = [], 0
    for info in lay_out(tensors):
        infos.append(msgspec.structs.replace(info, offset=offset))
        offset = padded(offset + info.nbytes, alignment)
    return tuple(infos)


def file_bytes(keys: dict[str, Value], tensors: tuple[TensorInfo, ...], alignment: int = 32) -> bytes:
    data = tensors[-1].offset + tensors[-1].nbytes if tensors else 0
    header = encode_header(keys, tensors)
    return header.ljust(padded(len(header), alignment), b"\0") + bytes(data)


def decode(data: bytes) -> GGUFHeader:
    return decode_header(lambda offset, length: data[offset : offset + length], len(data))


@given(KEYS, tensors_of(list(GGMLType)), st.sampled_from([32, 64, 4096]))
def test_what_was_encoded_is_decoded(keys: dict[str, Value], tensors: Shapes, alignment: int) -> None:
    if alignment != 32:
        keys = keys | {"general.alignment": Value(ValueType.UINT32, alignment)}
    infos = aligned(tensors, alignment)
    data = file_bytes(keys, infos, alignment)
    header = decode(data)
    assert header.keys == keys
    assert list(header.keys) == list(keys)
    assert header.tensors == infos
    assert (header.version, header.alignment, header.file_size) == (3, alignment, len(data))
    assert header.data_offset == padded(len(encode_header(keys, infos)), alignment)


@settings(max_examples=50)
@given(keys=KEYS, tensors=tensors_of(TYPES_OF_BOTH))
def test_the_package_gguf_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, keys: dict[str, Value], tensors: Shapes
) -> None:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    path.write_bytes(file_bytes(keys, lay_out(tensors)))
    ours, theirs = read_header(path), GGUFReader(path)
    assert {key: value.value for key, value in ours.keys.items()} == {
        key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")
    }
    assert [(t.name, t.type, t.shape, ours.data_offset + t.offset, t.nbytes) for t in ours.tensors] == [
        (t.name, t.tensor_type, tuple(map(int, reversed(t.shape))), t.data_offset, t.n_bytes) for t in theirs.tensors
    ]


def test_types_and_blocks_are_those_of_the_package_gguf() -> None:
    theirs = {type.name: (type.value, *GGML_QUANT_SIZES[type]) for type in GGMLQuantizationType if type.name != "Q8_1"}
    ours = {type.name: (type.value, *block_of(type)) for type in GGMLType}
    assert {name: ours[name] for name in theirs} == theirs


def test_a_q8_1_block_is_that_of_ggml_not_of_the_package_gguf() -> None:
    assert block_of(GGMLType.Q8_1) == (32, 2 * 2 + 32)  # ggml-common.h, block_q8_1: two half floats, 32 int8


def test_a_header_of_many_chunks_is_read_whole(tmp_path: Path) -> None:
    keys = {
        "tokens": Value(ValueType.ARRAY, [f"token {i} é" for i in range(200_000)], ValueType.STRING),
        "long": Value(ValueType.STRING, "x" * 3_000_000),
        "types": Value(ValueType.ARRAY, list(range(1_000_000)), ValueType.INT32),
        "last": Value(ValueType.BOOL, True),
    }
    path = tmp_path / "model.gguf"
    path.write_bytes(file_bytes(keys, ()))
    assert read_header(path).keys == keys


def test_float32_nan_and_infinity_come_back() -> None:
    values = [float("nan"), float("inf"), -float("inf"), -0.0]
    header = decode(file_bytes({"k": Value(ValueType.ARRAY, values, ValueType.FLOAT32)}, ()))
    np.testing.assert_array_equal(header.keys["k"].value, values)


@pytest.mark.parametrize("padding", [0, 20])
def test_the_padding_after_the_last_tensor_may_be_there_or_not(padding: int) -> None:
    infos = lay_out([("w", GGMLType.F32, (3,))])
    assert decode(file_bytes({}, infos) + bytes(padding)).tensors == infos


@pytest.mark.parametrize("padding", [0, 8])
def test_a_file_without_tensors_may_end_with_its_keys(padding: int) -> None:
    header = decode(encode_header({}, ())[:24] + bytes(padding))
    assert (header.data_offset, header.file_size, header.tensors) == (32, 24 + padding, ())


def test_version_2_has_the_layout_of_version_3() -> None:
    data = bytearray(file_bytes({"k": Value(ValueType.UINT8, 1)}, ()))
    data[4] = 2
    assert (decode(bytes(data)).version, decode(bytes(data)).keys) == (2, {"k": Value(ValueType.UINT8, 1)})


def test_an_error_names_file_and_byte_and_escapes_its_quotes() -> None:
    data = file_bytes({"k\x1b[2J\u202e": Value(ValueType.UINT32, 5)}, ())
    broken = data.replace(b"\4\0\0\0\5", b"\x63\0\0\0\5")
    with pytest.raises(GGUFError) as caught:
        decode_header(lambda offset, length: broken[offset : offset + length], len(broken), "dir/model.gguf")
    assert str(caught.value).startswith("dir/model.gguf, byte 40: key 'k\\x1b[2J\\u202e' has type 99, ")


def test_no_such_file_is_an_error_of_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_header(tmp_path / "model.gguf")


def test_a_folder_is_not_a_gguf_file(tmp_path: Path) -> None:
    with pytest.raises(GGUFError, match="not a regular file"):
        read_header(tmp_path)


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    with pytest.raises(GGUFError, match="not a regular file"):
        read_header(tmp_path / "model.gguf")


def test_a_symlink_loop_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").symlink_to(tmp_path / "model.gguf")
    with pytest.raises(OutputError, match="cannot be opened"):
        read_header(tmp_path / "model.gguf")


def test_a_file_that_shrinks_while_it_is_read_is_refused() -> None:
    data = file_bytes({"k": Value(ValueType.STRING, "x" * 100)}, ())
    with pytest.raises(GGUFError, match="the file ended while"):
        decode_header(lambda offset, length: data[offset : min(offset + length, 50)], len(data))
