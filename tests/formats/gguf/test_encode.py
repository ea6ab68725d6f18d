"""What the encoder writes, byte by byte, and what it refuses."""

import struct

import pytest

from deepgguf.errors import CheckpointError
from deepgguf.formats.gguf.decode import decode_header
from deepgguf.formats.gguf.encode import encode_header, lay_out
from deepgguf.formats.gguf.types import GGMLType, TensorInfo, Value, ValueType, block_of


def test_an_empty_header_is_24_bytes_padded_to_32() -> None:
    assert encode_header({}, ()) == b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + bytes(8)


def test_a_header_byte_by_byte() -> None:
    keys = {
        "a": Value(ValueType.STRING, "né"),
        "b": Value(ValueType.ARRAY, (1, -2), ValueType.INT16),
        "c": Value(ValueType.BOOL, True),
    }
    tensors = (TensorInfo("w", GGMLType.Q8_0, (2, 3, 64), 0, 408),)
    expected = b"".join(
        [
            b"GGUF" + struct.pack("<IQQ", 3, 1, 3),
            struct.pack("<Q1sIQ", 1, b"a", 8, 3) + "né".encode(),
            struct.pack("<Q1sIIQhh", 1, b"b", 9, 3, 2, 1, -2),
            struct.pack("<Q1sIB", 1, b"c", 7, 1),
            struct.pack("<Q1sIQQQIQ", 1, b"w", 3, 64, 3, 2, 8, 0),
        ]
    )
    assert encode_header(keys, tensors) == expected + bytes(-len(expected) % 32)


@pytest.mark.parametrize(
    ("type", "value", "encoded"),
    [
        (ValueType.UINT8, 255, b"\xff"),
        (ValueType.INT8, -1, b"\xff"),
        (ValueType.UINT16, 258, b"\x02\x01"),
        (ValueType.INT16, -2, b"\xfe\xff"),
        (ValueType.UINT32, 1, b"\x01\0\0\0"),
        (ValueType.INT32, -1, b"\xff\xff\xff\xff"),
        (ValueType.FLOAT32, 1.5, b"\0\0\xc0\x3f"),
        (ValueType.BOOL, False, b"\0"),
        (ValueType.STRING, "hi", b"\x02\0\0\0\0\0\0\0hi"),
        (ValueType.UINT64, 2**64 - 1, b"\xff" * 8),
        (ValueType.INT64, -(2**63), b"\0\0\0\0\0\0\0\x80"),
        (ValueType.FLOAT64, 1.5, b"\0\0\0\0\0\0\xf8\x3f"),
    ],
)
def test_every_value_type_is_little_endian(type: ValueType, value: object, encoded: bytes) -> None:
    header = encode_header({"k": Value(type, value)}, ())
    assert header[24:].rstrip(b"\0") == (struct.pack("<Q1sI", 1, b"k", type) + encoded).rstrip(b"\0")


def test_a_float32_is_rounded_once_to_nearest() -> None:
    header = encode_header({"k": Value(ValueType.FLOAT32, 0.0707)}, ())
    assert header[37:41] == struct.pack("<f", 0.0707)


def test_the_header_ends_at_a_multiple_of_32() -> None:
    for length in range(1, 40):
        assert len(encode_header({"k" * length: Value(ValueType.BOOL, True)}, ())) % 32 == 0


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (Value(ValueType.UINT32, 2**32), "UINT32"),
        (Value(ValueType.UINT32, -1), "UINT32"),
        (Value(ValueType.INT32, 1.5), "INT32"),
        (Value(ValueType.FLOAT32, 1e39), "FLOAT32"),
        (Value(ValueType.FLOAT32, "1"), "FLOAT32"),
        (Value(ValueType.BOOL, 1), "BOOL"),
        (Value(ValueType.STRING, 1), "not a string"),
        (Value(ValueType.STRING, "a\ud800"), r"lone surrogate U\+D800 at 1"),
        (Value(ValueType.ARRAY, ["a", "\udc80"], ValueType.STRING), "item 1: .*lone surrogate"),
        (Value(ValueType.ARRAY, ["a", None], ValueType.STRING), "item 1: None is not a string"),
        (Value(ValueType.ARRAY, [1, 2**31], ValueType.INT32), "INT32"),
    ],
)
def test_a_value_that_its_type_cannot_hold_is_refused_with_its_key(value: Value, problem: str) -> None:
    with pytest.raises(CheckpointError, match=f"tokenizer.some_key.*{problem}"):
        encode_header({"tokenizer.some_key": value}, ())


@pytest.mark.parametrize("key", ["", "k" * 65536])
def test_a_key_name_that_is_empty_or_too_long_is_refused(key: str) -> None:
    with pytest.raises(CheckpointError, match="GGUF holds 1 to 65535"):
        encode_header({key: Value(ValueType.BOOL, True)}, ())


def test_offsets_are_the_running_padded_sum() -> None:
    infos = lay_out(
        [
            ("a", GGMLType.F32, (3,)),
            ("b", GGMLType.Q4_K, (2, 256)),
            ("c", GGMLType.F16, (1,)),
            ("d", GGMLType.F32, (1,)),
        ]
    )
    assert [(info.offset, info.nbytes) for info in infos] == [(0, 12), (32, 288), (320, 2), (352, 4)]


@pytest.mark.parametrize("type", GGMLType)
def test_a_tensor_of_every_type_has_its_blocks_bytes(type: GGMLType) -> None:
    (info,) = lay_out([("w", type, (3, 2 * block_of(type).weights))])
    assert info.nbytes == 6 * block_of(type).nbytes


def test_a_name_may_have_63_bytes_and_no_more() -> None:
    (info,) = lay_out([("é" * 31 + "a", GGMLType.F32, (1,))])
    assert len(info.name.encode()) == 63
    with pytest.raises(CheckpointError, match="the name has 64 bytes"):
        lay_out([("é" * 32, GGMLType.F32, (1,))])


@pytest.mark.parametrize(
    ("tensors", "problem"),
    [
        ([("", GGMLType.F32, (1,))], "empty name"),
        ([("a\0b", GGMLType.F32, (1,))], "NUL"),
        ([("blk.0.a", GGMLType.F32, (1,)), ("blk.0.a", GGMLType.F32, (2,))], "blk.0.a.*two tensors"),
        ([("w", GGMLType.F32, ())], "w: has 0 dimensions"),
        ([("w", GGMLType.F32, (1, 2, 3, 4, 5))], "w: has 5 dimensions"),
        ([("w", GGMLType.F32, (2, 0))], r"w: has the shape \[2, 0\]"),
        ([("w", GGMLType.F32, (-1,))], r"w: has the shape \[-1\]"),
        ([("w", GGMLType.Q4_K, (2, 255))], "w: a row of 255 weights is not a whole number of Q4_K blocks of 256"),
        ([("w", GGMLType.F32, (2**40, 2**21))], r"w: .*2\^63"),
        ([("v", GGMLType.F32, (2**60,)), ("w", GGMLType.F32, (2**60,))], r"w: .*2\^63"),
    ],
)
def test_a_tensor_that_the_format_cannot_hold_is_refused_by_name(
    tensors: list[tuple[str, GGMLType, tuple[int, ...]]], problem: str
) -> None:
    with pytest.raises(CheckpointError, match=problem):
        lay_out(tensors)


def text_of(length: int) -> dict[str, Value]:
    """A key in a header of so many bytes more than 24 + 8 + 1 + 4 + 8."""
    return {"a": Value(ValueType.STRING, "x" * length)}


def test_the_longest_header_that_is_read_is_written_and_no_longer_one() -> None:
    longest = 64 * 2**20 - 45
    header = encode_header(text_of(longest), ())
    assert decode_header(lambda at, length: header[at : at + length], len(header)).keys == text_of(longest)
    with pytest.raises(
        CheckpointError, match=r"^output key 'a': with it the header has 67,108,865 bytes, and readers "
    ):
        encode_header(text_of(longest + 1), ())


@pytest.mark.parametrize(
    ("keys", "tensors", "found"),
    [
        (65_537, 0, "65,537 keys, and readers take 65,536"),
        (0, 262_145, "262,145 tensors, and readers take 262,144"),
        (2, 0, "4,194,306 items of arrays, and readers take 4,194,304"),
    ],
)
def test_more_than_readers_take_is_refused(keys: int, tensors: int, found: str) -> None:
    array = Value(ValueType.ARRAY, (False,) * (2_097_153 if keys == 2 else 0), ValueType.BOOL)
    infos = (TensorInfo("w", GGMLType.F32, (1,), 0, 4),) * tensors
    with pytest.raises(CheckpointError, match=f"^output header: {found}; "):
        encode_header({f"k{i}": array for i in range(keys)}, infos)


@pytest.mark.parametrize("value", ["\0", "a\0", ("a", "\0b")])
def test_a_nul_in_a_text_is_refused(value: object) -> None:
    type = (ValueType.STRING, None) if isinstance(value, str) else (ValueType.ARRAY, ValueType.STRING)
    with pytest.raises(CheckpointError, match="holds a NUL, where the engines would end it"):
        encode_header({"a": Value(type[0], value, type[1])}, ())


@pytest.mark.parametrize("number", [1e-50, -1e-50, 2.0**-151])
def test_a_float_that_would_become_0_is_refused(number: float) -> None:
    with pytest.raises(CheckpointError, match=r"does not fit the type FLOAT32 \(too small: it would become 0\)"):
        encode_header({"a": Value(ValueType.ARRAY, (0.0, -0.0, number), ValueType.FLOAT32)}, ())


@pytest.mark.parametrize("number", [0.0, -0.0, 2.0**-149, 1e-40])
def test_a_float_is_rounded_to_the_nearest_that_is_not_0(number: float) -> None:
    assert encode_header({"a": Value(ValueType.FLOAT32, number)}, ())[37:41] == struct.pack("<f", number)
