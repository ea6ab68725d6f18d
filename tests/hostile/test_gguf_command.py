"""Rows 75 to 83 on the command line: `deepgguf inspect FILE` and `deepgguf verify FILE`, with 512 MB of memory."""

import os
import struct
from pathlib import Path

import pytest
from command import NOT_ALMIGHTY, refused, run_deepgguf
from gguf_bytes import ARRAY, BOOL, STRING, UINT8, UINT32, UINT64, array, gguf, key, tensor, text, u32, u64

TOP = 2**64 - 1

FILES = {
    "row_75_key_length": gguf([text(b"k", TOP)], data=4096),
    "row_75_string_length": gguf([key(b"k", STRING, text(b"v", TOP))], data=4096),
    "row_75_array_length": gguf([key(b"k", ARRAY, array(UINT64, 2**61 + 1))], data=4096),
    "row_75_strings_in_an_array": gguf([key(b"k", ARRAY, array(STRING, 2**60))], data=4096),
    "row_75_dimensions": gguf(tensors=[tensor(count=2**32 - 1)], data=4096),
    "row_75_dimensions_that_overflow": gguf(tensors=[tensor(dims=(2**32, 2**32))], data=4096),
    "row_75_tensor_larger_than_the_file": gguf(tensors=[tensor(dims=(2**20,))], data=4096),
    "row_75_offset": gguf(tensors=[tensor(offset=TOP - 31)], data=4096),
    "row_75_name_that_writes_to_the_terminal": gguf([key("\x1b[2J\r\n\u202egnp".encode(), 99)]),
    "row_76_magic": gguf(magic=b"\x1b[2J"),
    "row_76_empty_file": b"",
    "row_76_version": gguf(version=1),
    "row_76_big_endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "row_77_keys": gguf(key_count=2**60),
    "row_77_tensors": gguf(tensor_count=TOP),
    "row_78_nested_arrays": gguf([key(b"k", ARRAY, array(ARRAY, 1) * 100_000)]),
    "row_79_alignment_0": gguf([key(b"general.alignment", UINT32, u32(0))], [tensor()], data=32),
    "row_79_alignment_3": gguf([key(b"general.alignment", UINT32, u32(3))], [tensor()], data=32),
    "row_79_alignment_2_31": gguf([key(b"general.alignment", UINT32, u32(2**31))], [tensor()], data=32),
    "row_79_alignment_of_wrong_type": gguf([key(b"general.alignment", UINT64, u64(32))], [tensor()], data=32),
    "row_80_value_type": gguf([key(b"k", 99)]),
    "row_80_tensor_type": gguf(tensors=[tensor(type=1024)], data=32),
    "row_81_keys": gguf([key(b"k"), key(b"k", BOOL)]),
    "row_81_tensors": gguf(tensors=[tensor(), tensor(offset=32)], data=64),
    "row_82_overlap": gguf(tensors=[tensor(b"v", (9,)), tensor(b"w", offset=32)], data=96),
    "row_82_gap": gguf(tensors=[tensor(b"v"), tensor(b"w", offset=64)], data=96),
    "row_82_misaligned": gguf(tensors=[tensor(b"v"), tensor(b"w", offset=40)], data=96),
    "row_82_past_the_end": gguf(tensors=[tensor()], data=31),
    "row_82_bytes_behind": gguf(tensors=[tensor()], data=33),
    "row_83_incomplete_split_set": gguf(
        [key(b"split.no", 2, b"\0\0"), key(b"split.count", 2, b"\2\0"), key(b"split.tensors.count", 5, u32(1))]
    ),
}


@pytest.mark.parametrize("command", ["inspect", "verify"])
@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_both_commands_refuse_the_file(tmp_path: Path, content: bytes, command: str) -> None:
    path = tmp_path / "model-00001-of-00002.gguf"
    path.write_bytes(content)
    assert "model-0000" in refused(command, path, folder=tmp_path, status=3)


def test_row_77_inspect_refuses_a_sparse_file_of_a_terabyte(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf([key(b"k", ARRAY, array(UINT8, 2**39))]))
    os.truncate(path, 2**40)
    assert "there are more than 4194304 in arrays" in refused("inspect", path, folder=tmp_path, status=3)


def test_row_83_a_split_set_is_read_where_the_folder_may_not_be_listed(tmp_path: Path) -> None:
    for number in range(2):
        keys = [key(b"split.no", 2, bytes([number, 0])), key(b"split.count", 2, b"\2\0")]
        content = gguf([*keys, key(b"split.tensors.count", 5, u32(2))], [tensor(b"w%d" % number)], data=32)
        (tmp_path / f"model-{number + 1:05d}-of-00002.gguf").write_bytes(content)
    tmp_path.chmod(0o311)
    path = tmp_path / "model-00001-of-00002.gguf"
    assert run_deepgguf("inspect", path, program=NOT_ALMIGHTY).status == 0


def test_the_longest_allowed_header_fits_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf([key(b"k", STRING, text(b"x" * (60 * 2**20) + "\U0001f600".encode()))]))
    assert run_deepgguf("inspect", path).status == 0
