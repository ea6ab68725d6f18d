"""Rows 75 to 83: each malicious GGUF file is refused with one line that says what is wrong and where, in little memory."""

import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from command import assert_one_clean_line
from gguf_bytes import (
    ARRAY,
    BOOL,
    Q4_K,
    STRING,
    UINT8,
    UINT32,
    UINT64,
    array,
    gguf,
    key,
    tensor,
    text,
    u32,
    u64,
)

from deepgguf.errors import GGUFError
from deepgguf.formats.gguf.split_set import read_split_set

TOP = 2**64 - 1
ENOUGH = 4096  # bytes of data, so that the end of the file is not what is found first


def refused(path: Path) -> str:
    """The line with which the reader refuses the file, using at most 48 MB of its own memory."""
    tracemalloc.start()
    try:
        with pytest.raises(GGUFError) as caught:
            read_split_set(path)
        assert tracemalloc.get_traced_memory()[1] < 48e6
    finally:
        tracemalloc.stop()
    assert_one_clean_line(str(caught.value))
    return str(caught.value)


def refused_bytes(folder: Path, content: bytes) -> str:
    """The refusal of a file `model.gguf` with this content, without the file's name."""
    path = folder / "model.gguf"
    path.write_bytes(content)
    return refused(path).removeprefix(str(path)).removeprefix(", ")


@pytest.mark.parametrize("length", [2**32, 2**62, 2**63 - 1, 2**63, TOP - 7, TOP])
def test_row_75_a_string_length_beyond_the_file_is_refused(tmp_path: Path, length: int) -> None:
    """CVE-2024-23496: the length plus one wrapped to an allocation of nothing."""
    for content, what in [
        (gguf([text(b"k", length)], data=ENOUGH), "the name of key 1 of 1"),
        (gguf([key(b"k", STRING, text(b"v", length))], data=ENOUGH), "the value of key 'k'"),
        (gguf([key(b"k", ARRAY, array(STRING, 2, text(b"v") + text(b"v", length)))], data=ENOUGH), "item 1 of key 'k'"),
        (gguf(tensors=[text(b"w", length)], data=ENOUGH), "the name of tensor 1 of 1"),
    ]:
        assert f"{what} is said to have {length} bytes, and the file has" in refused_bytes(tmp_path, content)


@pytest.mark.parametrize(
    ("item_type", "length"),
    [
        (UINT8, TOP),
        (UINT64, 2**61),
        (UINT64, 2**61 + 1),
        (UINT32, 2**62 + 1),
        (STRING, 2**60),
        (STRING, TOP),
        (BOOL, 2**40),
    ],
)
def test_row_75_an_array_length_beyond_the_file_is_refused(tmp_path: Path, item_type: int, length: int) -> None:
    """CVE-2024-21825: the length times the size of an item wrapped."""
    content = gguf([key(b"k", ARRAY, array(item_type, length))], data=ENOUGH)
    assert refused_bytes(tmp_path, content).startswith(f"byte 41: key 'k' is said to have {length} items")


@pytest.mark.parametrize("count", [0, 5, 6, 2**31, 2**32 - 1])
def test_row_75_other_than_one_to_four_dimensions_are_refused(tmp_path: Path, count: int) -> None:
    """CVE-2024-21802: more dimensions were written than the four that there is room for."""
    content = gguf(tensors=[tensor(dims=[1] * 6, count=count)], data=ENOUGH)
    assert refused_bytes(tmp_path, content).startswith(f"byte 33: tensor 'w' has {count} dimensions")


@pytest.mark.parametrize(
    "dims",
    [
        (2**63,),
        (TOP,),
        (2**32, 2**32),
        (2**62, 2, 2),
        (8, 2**61 + 1),
        (1152, 2**42 + 1),
        (2**16, 2**16, 2**16, 2**16),
        (TOP, TOP, TOP, TOP),
        (2**62,),
        (2**20, 2**10),
    ],
)
def test_row_75_dimensions_that_overflow_or_exceed_the_file_are_refused(tmp_path: Path, dims: tuple[int, ...]) -> None:
    """CVE-2026-33298, CVE-2026-7482: the size wrapped, or was never compared with the file."""
    message = refused_bytes(tmp_path, gguf(tensors=[tensor(dims=dims)], data=ENOUGH))
    assert message.startswith(f"byte 37: tensor 'w' has the dimensions {list(dims)} in F32")


@pytest.mark.parametrize("dims", [(0,), (0, 8), (8, 0), (TOP, 0, TOP)])
def test_row_75_a_dimension_of_zero_is_refused(tmp_path: Path, dims: tuple[int, ...]) -> None:
    message = refused_bytes(tmp_path, gguf(tensors=[tensor(dims=dims)], data=ENOUGH))
    assert message.startswith(f"byte 37: tensor 'w' has the dimensions {list(dims)}, and none may be 0")


@pytest.mark.parametrize("offset", [2**32, 2**63, TOP - 31])
def test_row_75_an_offset_beyond_the_file_is_refused(tmp_path: Path, offset: int) -> None:
    message = refused_bytes(tmp_path, gguf(tensors=[tensor(offset=offset)], data=ENOUGH))
    assert message.startswith(f"byte 49: tensor 'w' starts at offset {offset} and leaves a gap")


def test_row_75_sizes_whose_sum_overflows_are_refused(tmp_path: Path) -> None:
    """CVE-2025-53630: each tensor's size could be represented, their sum could not."""
    tensors = [tensor(b"%d" % n, dims=(2**60,), offset=n * 2**62) for n in range(4)]
    assert "tensor '0' has the dimensions [1152921504606846976]" in refused_bytes(tmp_path, gguf(tensors=tensors))


def test_row_75_a_row_that_is_not_a_whole_number_of_blocks_is_refused(tmp_path: Path) -> None:
    message = refused_bytes(tmp_path, gguf(tensors=[tensor(dims=(255, 256), type=Q4_K)], data=2**16))
    assert "rows of 255 weights, not a whole number of Q4_K blocks of 256" in message


@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"caf\xe9"])
def test_row_75_text_that_is_not_utf8_is_refused(tmp_path: Path, bad: bytes) -> None:
    for content in [
        gguf([key(bad)]),
        gguf([key(b"k", STRING, text(bad))]),
        gguf([key(b"k", ARRAY, array(STRING, 3, text(b"a") + text(bad) + text(b"b")))]),
        gguf(tensors=[tensor(bad)], data=32),
    ]:
        assert "is not UTF-8" in refused_bytes(tmp_path, content)


def test_row_75_a_bool_other_than_0_or_1_is_refused(tmp_path: Path) -> None:
    content = gguf([key(b"k", ARRAY, array(BOOL, 3, b"\x00\x01\x02"))])
    assert refused_bytes(tmp_path, content).startswith("byte 51: key 'k' holds 2 where a BOOL is 0 or 1")


@pytest.mark.parametrize("name", [b"", b"\0", b"k\0k"])
def test_row_75_a_name_that_engines_would_truncate_is_refused(tmp_path: Path, name: bytes) -> None:
    assert "empty or with a NUL" in refused_bytes(tmp_path, gguf([key(name)]))
    assert "empty or with a NUL" in refused_bytes(tmp_path, gguf(tensors=[tensor(name)], data=32))


def test_row_75_a_tensor_name_too_long_for_the_engines_is_refused(tmp_path: Path) -> None:
    message = refused_bytes(tmp_path, gguf(tensors=[tensor(b"w" * 64)], data=32))
    assert "the name of tensor 1 of 1 is said to have 64 bytes, and 63 are allowed" in message


def test_row_75_a_name_that_writes_to_the_terminal_is_escaped(tmp_path: Path) -> None:
    name = "\x1b]0;owned\x07\r\n\u202egnp.exe".encode()
    message = refused_bytes(tmp_path, gguf([key(name, 99)]))
    assert r"'\x1b]0;owned\x07\r\n\u202egnp.exe' has type 99" in message


def test_row_75_a_sound_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    """CVE-2024-39720: the file ended after its magic."""
    keys = [key(b"k", ARRAY, array(STRING, 2, text(b"ab") + text(b"c"))), key(b"n", UINT32, u32(7))]
    whole = gguf(keys, [tensor(b"v"), tensor(b"w", offset=32)], data=64)
    (tmp_path / "whole.gguf").write_bytes(whole)
    assert len(read_split_set(tmp_path / "whole.gguf")) == 1
    for length in range(len(whole)):
        assert refused_bytes(tmp_path, whole[:length]).startswith("byte ")


@pytest.mark.parametrize(
    "magic", [b"GGML", b"ggjt", b"FUGG", b"\0\0\0\0", b"<!DO", b"vers", b"PK\x03\x04", b"\x1b[2J", b"GGUf"]
)
def test_row_76_another_magic_is_refused(tmp_path: Path, magic: bytes) -> None:
    assert refused_bytes(tmp_path, gguf(magic=magic)).startswith(
        f"byte 0: starts with {magic!r}, where a GGUF file has"
    )


@pytest.mark.parametrize("version", [0, 1, 4, 2**31, 2**32 - 1])
def test_row_76_another_version_is_refused(tmp_path: Path, version: int) -> None:
    assert refused_bytes(tmp_path, gguf(version=version)).startswith(
        f"byte 4: GGUF version {version}, and only 2 and 3"
    )


def test_row_76_a_big_endian_file_is_refused(tmp_path: Path) -> None:
    content = b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + struct.pack(">Q1sIB", 1, b"k", 0, 1)
    assert refused_bytes(tmp_path, content).startswith("byte 4: the file is big-endian")


@pytest.mark.parametrize("count", [2, 100, 2**31, 2**60, 2**63, TOP])
def test_row_77_more_tensors_than_the_file_could_hold_are_refused(tmp_path: Path, count: int) -> None:
    """CVE-2024-21836: an array of that many was allocated."""
    message = refused_bytes(tmp_path, gguf(tensors=[tensor()], tensor_count=count))
    assert message.startswith(f"byte 8: {count} tensors cannot be in a file with")


@pytest.mark.parametrize("count", [4, 100, 2**31, 2**60, 2**63, TOP])
def test_row_77_more_keys_than_the_file_could_hold_are_refused(tmp_path: Path, count: int) -> None:
    """CVE-2024-23605: an array of that many was allocated."""
    message = refused_bytes(tmp_path, gguf([key(b"k")], key_count=count))
    assert message.startswith(f"byte 16: {count} keys cannot be in a file with")


def test_row_77_one_key_more_than_there_are_is_refused(tmp_path: Path) -> None:
    content = gguf([key(b"k", STRING, text(b"v" * 100))], key_count=2)
    assert "key 2 of 2" in refused_bytes(tmp_path, content)


@pytest.mark.parametrize(
    ("header", "limit"),
    [
        (gguf(tensor_count=2**30), "1073741824 tensors, and 262144 are allowed"),
        (gguf(key_count=2**30), "1073741824 keys, and 65536 are allowed"),
        (gguf([key(b"k", ARRAY, array(UINT8, 2**30))]), "there are more than 4194304 in arrays"),
        (gguf([key(b"k", ARRAY, array(STRING, 2**22 + 1))]), "there are more than 4194304 in arrays"),
        (gguf([key(b"k", STRING, text(b"", 2**30))]), "1073741824 bytes, and 67108864 are allowed"),
        (gguf([key(b"k", STRING, text(b"", 2**26))]), "the header is longer than 67108864 bytes"),
    ],
)
def test_row_77_counts_that_only_a_sparse_file_can_hold_are_refused(tmp_path: Path, header: bytes, limit: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(header)
    os.truncate(path, 2**40)
    assert limit in refused(path)


def test_row_77_arrays_that_are_too_long_together_are_refused(tmp_path: Path) -> None:
    keys = [key(b"%d" % n, ARRAY, array(UINT8, 2**20, bytes(2**20))) for n in range(5)]
    assert "with the 1048576 items of key '4', there are more than 4194304" in refused_bytes(tmp_path, gguf(keys))


@pytest.mark.parametrize("depth", [1, 2, 100_000])
def test_row_78_nested_arrays_are_refused(tmp_path: Path, depth: int) -> None:
    content = gguf([key(b"k", ARRAY, array(ARRAY, 1) * depth + array(UINT8, 1, b"\x01"))])
    assert refused_bytes(tmp_path, content).startswith("byte 37: key 'k' is an array of arrays")


@pytest.mark.parametrize("alignment", [0, 1, 3, 4, 24, 33, 2**20 + 1, 2**21, 2**31, 2**32 - 1])
def test_row_79_an_alignment_that_is_not_a_small_power_of_two_is_refused(tmp_path: Path, alignment: int) -> None:
    """Zero divides, and a large one overflows the padding."""
    content = gguf([key(b"general.alignment", UINT32, u32(alignment))], [tensor()], data=ENOUGH)
    assert f"general.alignment is {alignment}, and must be a power of two from 8 to" in refused_bytes(tmp_path, content)


@pytest.mark.parametrize(
    ("type", "value", "name"),
    [
        (UINT8, b"\x20", "UINT8"),
        (5, u32(32), "INT32"),
        (6, u32(32), "FLOAT32"),
        (BOOL, b"\x01", "BOOL"),
        (UINT64, u64(32), "UINT64"),
        (STRING, text(b"32"), "STRING"),
        (ARRAY, array(UINT32, 1, u32(32)), "ARRAY"),
    ],
)
def test_row_79_an_alignment_of_the_wrong_type_is_refused(tmp_path: Path, type: int, value: bytes, name: str) -> None:
    content = gguf([key(b"general.alignment", type, value)], [tensor()], data=ENOUGH)
    assert f"general.alignment has type {name}, and must be UINT32" in refused_bytes(tmp_path, content)


@pytest.mark.parametrize("type", [13, 99, 2**31, 2**32 - 1])
def test_row_80_an_unknown_value_type_is_refused(tmp_path: Path, type: int) -> None:
    message = refused_bytes(tmp_path, gguf([key(b"k", type)], data=ENOUGH))
    assert message.startswith(f"byte 33: key 'k' has type {type}, and GGUF has 0 to 12")
    message = refused_bytes(tmp_path, gguf([key(b"k", ARRAY, array(type, 1))], data=ENOUGH))
    assert message.startswith(f"byte 37: the items of key 'k' has type {type}, and GGUF has 0 to 12")


@pytest.mark.parametrize("type", [43, 99, 1024, 2**31, 2**32 - 1])
def test_row_80_an_unknown_tensor_type_is_refused(tmp_path: Path, type: int) -> None:
    message = refused_bytes(tmp_path, gguf(tensors=[tensor(type=type)], data=ENOUGH))
    assert message.startswith(f"byte 45: tensor 'w' has type {type}, unknown to ggml")


@pytest.mark.parametrize(("type", "name"), [(4, "Q4_2"), (5, "Q4_3"), (31, "Q4_0_4_4"), (38, "IQ4_NL_8_8")])
def test_row_80_a_tensor_type_that_ggml_removed_is_refused(tmp_path: Path, type: int, name: str) -> None:
    message = refused_bytes(tmp_path, gguf(tensors=[tensor(type=type)], data=ENOUGH))
    assert f"tensor 'w' has type {type}, {name}, which ggml has removed" in message


def test_row_81_a_duplicate_key_is_refused(tmp_path: Path) -> None:
    content = gguf([key(b"a"), key(b"k"), key(b"k", UINT32, u32(2))])
    assert refused_bytes(tmp_path, content).startswith("byte 52: key 'k' appears twice")


def test_row_81_a_duplicate_tensor_is_refused(tmp_path: Path) -> None:
    content = gguf(tensors=[tensor(b"w"), tensor(b"w", offset=32)], data=64)
    assert refused_bytes(tmp_path, content).startswith("byte 57: tensor 'w' appears twice")


@pytest.mark.parametrize(
    ("offset", "problem"),
    [
        (0, "overlaps the one before, which ends at 64"),
        (32, "overlaps the one before, which ends at 64"),
        (96, "leaves a gap after the one before, which ends at 64"),
        (4096, "leaves a gap after the one before, which ends at 64"),
        (60, "not a multiple of the alignment 32"),
        (65, "not a multiple of the alignment 32"),
    ],
)
def test_row_82_an_overlap_a_gap_and_a_misaligned_tensor_are_refused(tmp_path: Path, offset: int, problem: str) -> None:
    content = gguf(tensors=[tensor(b"v", (15,)), tensor(b"w", offset=offset)], data=2 * ENOUGH)
    message = refused_bytes(tmp_path, content)
    assert message.startswith(f"byte 82: tensor 'w' starts at offset {offset}")
    assert problem in message


def test_row_82_a_gap_before_the_first_tensor_is_refused(tmp_path: Path) -> None:
    assert "leaves a gap" in refused_bytes(tmp_path, gguf(tensors=[tensor(offset=32)], data=64))


def test_row_82_tensors_in_another_order_than_their_data_are_refused(tmp_path: Path) -> None:
    content = gguf(tensors=[tensor(b"v", offset=32), tensor(b"w", offset=0)], data=64)
    assert "tensor 'v' starts at offset 32 and leaves a gap" in refused_bytes(tmp_path, content)


@pytest.mark.parametrize("missing", [1, 31, 32, 64])
def test_row_82_tensors_past_the_end_of_the_file_are_refused(tmp_path: Path, missing: int) -> None:
    content = gguf(tensors=[tensor(b"v"), tensor(b"w", offset=32)], data=64)[:-missing]
    assert f"the tensors end at byte 160, {missing} bytes after the end of the file" in refused_bytes(tmp_path, content)


@pytest.mark.parametrize(("data", "after"), [(65, 1), (64 + 2**20, 2**20)])
def test_row_82_bytes_after_the_last_tensor_are_refused(tmp_path: Path, data: int, after: int) -> None:
    content = gguf(tensors=[tensor(b"v"), tensor(b"w", offset=32)], data=data)
    assert refused_bytes(tmp_path, content).startswith(f"byte 160: {after} bytes follow the last tensor")


def write_split(folder: Path, number: int, count: int, total: int) -> Path:
    keys = [
        key(b"split.no", 2, struct.pack("<H", number)),
        key(b"split.count", 2, struct.pack("<H", count)),
        key(b"split.tensors.count", 5, struct.pack("<i", total)),
    ]
    path = folder / f"model-{number + 1:05d}-of-{count:05d}.gguf"
    path.write_bytes(gguf(keys, [tensor(b"blk.%d.w" % number)], data=32))
    return path


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_row_83_an_incomplete_split_set_is_refused(tmp_path: Path, missing: int) -> None:
    parts = [write_split(tmp_path, number, 3, 3) for number in range(3)]
    parts[missing].unlink()
    message = refused(parts[1 if missing == 0 else 0])
    assert message.startswith(f"{parts[missing]}: this file of a split set of 3 is missing")


def test_row_83_one_file_of_a_split_set_of_65535_is_refused(tmp_path: Path) -> None:
    message = refused(write_split(tmp_path, 0, 65535, 3))
    assert "model-00002-of-65535.gguf: this file of a split set of 65535 is missing (and 65533 more)" in message


def test_row_83_a_split_set_with_too_few_tensors_is_refused(tmp_path: Path) -> None:
    parts = [write_split(tmp_path, number, 2, 3) for number in range(2)]
    assert "split.tensors.count is 3, and the set has 2" in refused(parts[0])


def test_row_83_a_damaged_file_of_a_split_set_is_refused(tmp_path: Path) -> None:
    parts = [write_split(tmp_path, number, 2, 2) for number in range(2)]
    os.truncate(parts[1], 100)
    assert refused(parts[0]).startswith(f"{parts[1]}, byte ")


def test_row_83_a_folder_in_place_of_a_file_of_a_split_set_is_refused(tmp_path: Path) -> None:
    parts = [write_split(tmp_path, number, 2, 2) for number in range(2)]
    parts[1].unlink()
    parts[1].mkdir()
    assert refused(parts[0]).startswith(f"{parts[1]}: is not a regular file")
