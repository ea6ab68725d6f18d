"""Sound headers, damaged at random: the reader refuses them or reads them, and nothing else happens."""

import struct
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from deepgguf.errors import GGUFError
from deepgguf.formats.gguf.decode import decode_header
from deepgguf.formats.gguf.describe import describe
from deepgguf.formats.gguf.encode import encode_header, lay_out
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType

KEYS = {
    "general.architecture": Value(ValueType.STRING, "deepseek2"),
    "general.alignment": Value(ValueType.UINT32, 32),
    "tokens": Value(ValueType.ARRAY, ["a", "", "Ġthe", "中"], ValueType.STRING),
    "scores": Value(ValueType.ARRAY, [0.5, -1.0], ValueType.FLOAT32),
    "flags": Value(ValueType.ARRAY, [True, False], ValueType.BOOL),
    "empty": Value(ValueType.ARRAY, [], ValueType.UINT64),
    "big": Value(ValueType.UINT64, 2**64 - 1),
    "real": Value(ValueType.FLOAT64, 0.1),
}
TENSORS = lay_out(
    [("a.weight", GGMLType.F32, (2, 3)), ("b.weight", GGMLType.Q4_K, (2, 256)), ("c", GGMLType.BF16, (5,))]
)
SOUND = encode_header(KEYS, TENSORS) + bytes(TENSORS[-1].offset + TENSORS[-1].nbytes)
TELLING = [0, 1, 3, 4, 8, 9, 12, 13, 31, 32, 33, 2**16, 2**31, 2**32 - 1, 2**32, 2**60, 2**61, 2**62, 2**63, 2**64 - 1]

PLACES = st.integers(0, len(SOUND) - 1)
NUMBERS = st.sampled_from(TELLING) | st.integers(0, 2**64 - 1)


def put(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


MUTATIONS = st.one_of(
    st.tuples(PLACES, st.binary(min_size=1, max_size=1)).map(lambda m: lambda data: put(data, *m)),
    st.tuples(PLACES, NUMBERS).map(lambda m: lambda data: put(data, m[0], struct.pack("<Q", m[1]))),
    st.tuples(PLACES, NUMBERS).map(lambda m: lambda data: put(data, m[0], struct.pack("<I", m[1] % 2**32))),
    PLACES.map(lambda at: lambda data: data[:at]),
    st.tuples(PLACES, st.binary(max_size=40)).map(lambda m: lambda data: data[: m[0]] + m[1] + data[m[0] :]),
    st.tuples(PLACES, st.integers(1, 40)).map(lambda m: lambda data: data[: m[0]] + data[m[0] + m[1] :]),
    st.tuples(PLACES, PLACES, st.integers(1, 60)).map(
        lambda m: lambda data: data[: m[0]] + data[m[1] : m[1] + m[2]] + data[m[0] :]
    ),
)


def read(data: bytes) -> None:
    """Decode and describe; GGUFError is the only exception, and memory is bounded by the file's size."""
    tracemalloc.start()
    try:
        describe([decode_header(lambda offset, length: data[offset : offset + length], len(data))])
    except GGUFError as error:
        assert str(error).startswith("GGUF, byte ")
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100_000 + 40 * len(data)


def test_the_sound_file_is_read() -> None:
    header = decode_header(lambda offset, length: SOUND[offset : offset + length], len(SOUND))
    assert (header.keys, header.tensors) == (KEYS, TENSORS)


@given(st.lists(MUTATIONS, min_size=1, max_size=4))
def test_a_damaged_header_is_refused_or_read(mutations: list) -> None:  # type: ignore[type-arg]
    data = SOUND
    for mutate in mutations:
        data = mutate(data)
    read(data)


@given(st.integers(0, len(encode_header(KEYS, TENSORS)) // 4 - 1), NUMBERS)
def test_any_number_in_place_of_any_field_is_refused_or_read(place: int, number: int) -> None:
    read(put(SOUND, 4 * place, struct.pack("<Q", number)))


@given(st.binary(max_size=400), st.integers(0, 4), st.integers(0, 4))
def test_noise_behind_a_sound_preamble_is_refused_or_read(noise: bytes, tensors: int, keys: int) -> None:
    read(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + noise)


@given(st.binary(max_size=100))
def test_noise_is_refused_or_read(noise: bytes) -> None:
    read(noise)
