import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgguf.errors import CheckpointError, OutputError
from deepgguf.files.local import LocalSource, SourceFile, Sources


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def facts(path: Path) -> SourceFile:
    with LocalSource(path) as source:
        return source.file


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_a_file_is_described_by_path_name_size_and_time(tmp_path):
    path = written(tmp_path / "a.safetensors", b"12345")
    expected = SourceFile(str(path.resolve()), "a.safetensors", 5, path.stat().st_mtime_ns)
    assert facts(path) == expected


@settings(deadline=None)
@given(st.binary(max_size=300), st.data())
def test_any_range_is_read_into_any_kind_of_buffer(tmp_path_factory, content, data):
    path = written(tmp_path_factory.mktemp("source") / "a", content)
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    array, view = np.zeros(stop - start, np.uint8), memoryview(bytearray(stop - start))
    with LocalSource(path) as source:
        source.readinto(start, array)
        source.readinto(start, view)
        assert source.read(start, stop - start) == content[start:stop] == array.tobytes() == bytes(view)


def test_an_array_of_any_shape_and_dtype_is_filled(tmp_path):
    expected = np.arange(6, dtype="<u4").reshape(2, 3)
    array = np.zeros((2, 3), "<u4")
    with LocalSource(written(tmp_path / "a", b"head" + expected.tobytes())) as source:
        source.readinto(4, array)
    assert (array == expected).all()


def test_short_reads_are_continued(tmp_path, monkeypatch):
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:3]], offset))
    with LocalSource(written(tmp_path / "a", b"0123456789")) as source:
        assert source.read(1, 8) == b"12345678"


def test_reading_past_the_end_says_that_the_file_changed(tmp_path):
    with LocalSource(written(tmp_path / "a", b"0123456789")) as source:
        os.truncate(tmp_path / "a", 4)
        with pytest.raises(CheckpointError, match=r"^a: changed or truncated while it was read, expected 10 bytes"):
            source.read(0, 10)


def test_a_read_error_is_one_after_which_the_run_can_go_on(tmp_path, monkeypatch):
    def broken(fd, buffers, offset):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with LocalSource(written(tmp_path / "a", b"0123456789")) as source:
        monkeypatch.setattr(os, "preadv", broken)
        with pytest.raises(
            OutputError, match=r"^a: reading 4 bytes at byte 2 failed: Input/output error; .*--resume"
        ) as e:
            source.read(2, 4)
    assert e.value.exit_status == 4


def test_a_device_is_refused_by_its_kind():
    with pytest.raises(CheckpointError, match=r"^shard: a device, not a regular file"):
        LocalSource.reopen(SourceFile("/dev/zero", "shard", 0, 0))


def test_a_refused_file_leaves_no_descriptor_open(tmp_path):
    file = facts(written(tmp_path / "a", b"1"))
    written(tmp_path / "a", b"12")
    before = open_descriptors()
    with pytest.raises(CheckpointError, match="changed"):
        LocalSource.reopen(file)
    assert open_descriptors() == before


def test_of_many_files_only_as_many_as_the_limit_are_open(tmp_path):
    files = [facts(written(tmp_path / str(i), bytes([i]) * 4)) for i in range(10)]
    before = open_descriptors()
    with Sources(files, limit=3) as sources:
        for _ in range(2):
            assert [sources.read(i, 1, 2).tobytes() for i in range(10)] == [bytes([i, i]) for i in range(10)]
            assert open_descriptors() == before + 3
    assert open_descriptors() == before


def test_the_file_read_longest_ago_is_closed_first(tmp_path):
    files = [facts(written(tmp_path / str(i), bytes([i]))) for i in range(3)]
    with Sources(files, limit=2) as sources:
        for i in (0, 1, 0, 2):
            sources.read(i, 0, 1)
        (tmp_path / "0").unlink()  # still open, so it can be read
        assert sources.read(0, 0, 1).tobytes() == b"\0"
        (tmp_path / "1").unlink()
        with pytest.raises(CheckpointError, match=r"^1: no such file"):
            sources.read(1, 0, 1)


def test_threads_share_fewer_open_files_than_they_read(tmp_path):
    files = [facts(written(tmp_path / str(i), bytes([i]) * 1000)) for i in range(16)]
    wrong: list[int] = []

    def read(sources: Sources, seed: int) -> None:
        for i in np.random.default_rng(seed).integers(0, 16, 300).tolist():
            if sources.read(i, 500, 500).tobytes() != bytes([i]) * 500:
                wrong.append(i)

    with Sources(files, limit=2) as sources:
        threads = [threading.Thread(target=read, args=(sources, seed)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_unchanged_files_pass_the_last_check(tmp_path):
    with Sources([facts(written(tmp_path / "a", b"1"))]) as sources:
        sources.check_unchanged()


@pytest.mark.parametrize("change", ["size", "time", "gone"])
def test_the_last_check_notices_a_change(tmp_path, change):
    path = written(tmp_path / "a", b"1")
    with Sources([facts(path)]) as sources:
        if change == "gone":
            path.unlink()
        elif change == "size":
            before = path.stat()
            path.write_bytes(b"12")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        else:
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))
        with pytest.raises(CheckpointError, match=r"^a: changed or truncated while it was read"):
            sources.check_unchanged()
