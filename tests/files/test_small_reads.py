"""Reads that are worth no request of their own."""

import threading

import numpy as np
import pytest

from deepgguf.errors import ChangedError, OutputError
from deepgguf.files.files import FileFacts
from deepgguf.files.network.blocks import HELD, Blocks
from deepgguf.files.network.read_ahead import ReadAhead

DATA = np.random.default_rng(3).bytes(40 << 20)
FILE = FileFacts("model.safetensors", len(DATA), "1")


class Distant:
    """Counts the requests, (first byte, bytes)."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, int]] = []
        self.broken = False

    def __call__(self, file: FileFacts, offset: int, view: memoryview) -> None:
        self.requests.append((offset, len(view)))
        if self.broken:
            raise OutputError(file.name, "gone")
        view[:] = DATA[offset : offset + len(view)]


def read(reader: Blocks | ReadAhead, offset: int, nbytes: int) -> bytes:
    buffer = bytearray(nbytes)
    reader.readinto(FILE, offset, memoryview(buffer))
    return bytes(buffer)


def test_scales_that_lie_side_by_side_come_together():
    distant = Distant()
    blocks = Blocks(distant)
    for offset in range(0, 1 << 20, 3584):
        assert read(blocks, offset, 3584) == DATA[offset : offset + 3584]
    assert distant.requests == [(0, 512 << 10), (512 << 10, 512 << 10), (1 << 20, 512 << 10)]


def test_all_threads_share_a_block_that_one_of_them_reads():
    distant, wrong = Distant(), []
    blocks = Blocks(distant)

    def reads(start: int) -> None:
        if read(blocks, start, 1000) != DATA[start : start + 1000]:
            wrong.append(start)

    threads = [threading.Thread(target=reads, args=(1000 * number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert distant.requests == [(0, 512 << 10)]


def test_no_more_is_held_than_is_said():
    distant = Distant()
    blocks = Blocks(distant)
    for _ in range(2):
        for offset in range(0, HELD + (1 << 20), 512 << 10):
            read(blocks, offset, 10)
    assert len(distant.requests) == 2 * (64 + 2)


def test_the_last_block_ends_with_the_file():
    distant = Distant()
    file = FileFacts("x", 600_000, "1")
    buffer = bytearray(10)
    Blocks(distant).readinto(file, 599_990, memoryview(buffer))
    assert (bytes(buffer), distant.requests) == (DATA[599_990:600_000], [(524_288, 75_712)])


def test_what_could_not_be_read_is_asked_for_again():
    distant = Distant()
    blocks = Blocks(distant)
    distant.broken = True
    with pytest.raises(OutputError, match="gone"):
        read(blocks, 0, 10)
    distant.broken = False
    assert read(blocks, 0, 10) == DATA[:10]


def test_what_is_read_in_order_is_read_ahead_by_requests_that_grow():
    distant = Distant()
    ahead = ReadAhead(distant)
    for offset in range(0, 32 << 20, 1 << 16):
        assert read(ahead, offset, 1 << 16) == DATA[offset : offset + (1 << 16)]
    assert [nbytes >> 10 for _, nbytes in distant.requests[:6]] == [256, 512, 1024, 2048, 4096, 8192]
    assert len(distant.requests) == 9


def test_what_is_read_here_and_there_is_read_by_small_requests():
    distant = Distant()
    ahead = ReadAhead(distant)
    for offset in (0, 30 << 20, 10 << 20):
        read(ahead, offset, 100)
    assert {nbytes for _, nbytes in distant.requests} == {256 << 10}


def test_a_large_read_is_a_request_of_its_own():
    distant = Distant()
    assert read(ReadAhead(distant), 5, 1 << 20) == DATA[5 : 5 + (1 << 20)]
    assert distant.requests == [(5, 1 << 20)]


def test_past_the_end_nothing_is_read():
    distant = Distant()
    with pytest.raises(ChangedError, match="changed or truncated"):
        read(ReadAhead(distant), len(DATA) - 5, 6)
    assert distant.requests == []
