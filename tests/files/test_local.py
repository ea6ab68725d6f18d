import contextlib
import errno
import gc
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from conformance import Conformance
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgguf.errors import ChangedError, CheckpointError, OutputError
from deepgguf.files.files import FileFacts
from deepgguf.files.local import LocalFiles

PASSING = (
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EACCES, errno.EMFILE, errno.ENFILE, errno.EINTR, errno.ENOMEM,
    errno.ETIMEDOUT, errno.EHOSTDOWN,
)  # fmt: skip


class TestLocalFiles(Conformance):
    def files(self, folder, contents):
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return LocalFiles(folder)

    def change(self, files, name, content):
        path = Path(files.place, name)
        before = path.stat()
        path.write_bytes(content)
        # Two writes can fall into one tick of the clock.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def folder_of(folder: Path, *contents: bytes, limit: int = 64) -> LocalFiles:
    """Files that are called 0, 1, 2, …"""
    for number, content in enumerate(contents):
        (folder / str(number)).write_bytes(content)
    return LocalFiles(folder, limit=limit)


def read(files: LocalFiles, name: str, start: int, stop: int) -> bytes:
    return files.read(files.facts(name), start, stop - start).tobytes()


def open_descriptors() -> int:
    """Those of files, whatever kind they are: servers of other tests may be closing their connections meanwhile."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed, as the listing itself is
            found.append(path.readlink().as_posix())
    return sum(target.startswith("/") for target in found)


def open_before() -> int:
    """The same, when nothing that other tests left is still to be collected, which would close it meanwhile."""
    gc.collect()
    return open_descriptors()


def test_a_version_is_the_time_of_change(tmp_path):
    files = folder_of(tmp_path, b"12345")
    assert files.facts("0") == FileFacts("0", 5, str((tmp_path / "0").stat().st_mtime_ns))


@settings(deadline=None)
@given(st.binary(max_size=300), st.data())
def test_any_range_of_any_file_is_read(tmp_path_factory, content, data):
    files = folder_of(tmp_path_factory.mktemp("source"), content)
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    assert read(files, "0", start, stop) == content[start:stop]


def test_a_relative_folder_is_absolute_from_then_on(tmp_path, monkeypatch):
    folder_of(tmp_path, b"12345")
    monkeypatch.chdir(tmp_path)
    files = LocalFiles("")
    monkeypatch.chdir("/")
    assert (files.place, read(files, "0", 1, 3)) == (str(tmp_path), b"23")


def test_short_reads_are_continued(tmp_path, monkeypatch):
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: preadv(fd, [buffers[0][:3]], offset))
    assert read(folder_of(tmp_path, b"0123456789"), "0", 1, 9) == b"12345678"


def test_a_file_that_is_cut_short_while_it_is_open_is_an_error(tmp_path):
    files = folder_of(tmp_path, b"0123456789")
    file = files.facts("0")
    files.read(file, 0, 10)
    os.truncate(tmp_path / "0", 4)
    with pytest.raises(CheckpointError, match=r"^0: changed or truncated while it was read, expected 10 bytes"):
        files.read(file, 0, 10)


def test_a_file_that_is_overwritten_while_it_is_open_is_an_error(tmp_path):
    files = folder_of(tmp_path, b"0123456789")
    file = files.facts("0")
    files.read(file, 0, 10)
    with (tmp_path / "0").open("r+b") as overwritten:
        overwritten.write(b"x")
    os.utime(tmp_path / "0", ns=(0, 0))  # a clock that is too coarse would hide it
    with pytest.raises(CheckpointError, match=r"^0: changed or truncated while it was read"):
        files.read(file, 0, 10)


@pytest.mark.parametrize("call", ["lstat", "stat", "open", "fstat"])
@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
def test_whatever_may_pass_by_itself_is_no_fault_of_the_checkpoint(tmp_path, monkeypatch, call, number):
    files = folder_of(tmp_path, b"0123456789")
    file = files.facts("0")

    def broken(*arguments, **options):
        raise OSError(number, os.strerror(number))

    for look in (lambda: files.facts("0"), lambda: files.read(file, 0, 10), lambda: files.check_unchanged([file])):
        with monkeypatch.context() as patched, pytest.raises(OutputError) as error:
            patched.setattr(Path if call == "stat" else os, call, broken)
            look()
        assert error.value.found == f"cannot be opened: {os.strerror(number)}"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_where_no_more_files_can_be_open_the_one_read_longest_ago_is_closed(tmp_path, monkeypatch, number):
    opened, real = [], os.open

    def scarce(path, flags):
        if sum(fd.resolve().parent == tmp_path for fd in Path("/dev/fd").iterdir()) == 2:
            raise OSError(number, os.strerror(number))
        opened.append(Path(path).name)
        return real(path, flags)

    files = folder_of(tmp_path, b"0", b"1", b"2")
    facts = [files.facts(str(i)) for i in range(3)]
    monkeypatch.setattr(os, "open", scarce)
    assert [files.read(facts[i], 0, 1).tobytes() for i in (0, 1, 0, 2, 0, 1)] == [b"0", b"1", b"0", b"2", b"0", b"1"]
    assert opened == ["0", "1", "2", "1"]


def test_where_every_open_file_is_being_read_the_next_one_waits(tmp_path, monkeypatch):
    files, preadv = folder_of(tmp_path, b"0", b"1", limit=1), os.preadv
    facts, reading, order = [files.facts("0"), files.facts("1")], threading.Event(), []

    def slow(fd, buffers, offset):
        if not reading.is_set():
            reading.set()
            second.join(0.1)
        order.append(fd)
        return preadv(fd, buffers, offset)

    def read_second():
        reading.wait()
        files.read(facts[1], 0, 1)
        order.append("second")

    second = threading.Thread(target=read_second)
    monkeypatch.setattr(os, "preadv", slow)
    second.start()
    before = open_before()
    files.read(facts[0], 0, 1)
    second.join()
    assert order[1:] == [order[0], "second"]  # the same descriptor: it was free again
    assert open_descriptors() == before + 1


def test_a_read_error_is_one_after_which_the_run_can_be_resumed(tmp_path, monkeypatch):
    def broken(fd, buffers, offset):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(OutputError, match=r"^0: reading 4 bytes at byte 2 failed: Input/output error; .*`resume=True`"):
        read(folder_of(tmp_path, b"0123456789"), "0", 2, 6)


def test_a_file_that_the_user_names_may_be_a_symlink_to_anywhere(tmp_path):
    (tmp_path / "there").mkdir()
    folder_of(tmp_path / "there", b"12345")
    (tmp_path / "link").symlink_to("there/0")
    files, name = LocalFiles.of_file(tmp_path / "link")
    assert (name, read(files, name, 0, 5)) == ("link", b"12345")


def test_a_symlink_of_the_checkpoint_stays_in_its_folder(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "secret").write_text("a password")
    files = folder_of(tmp_path / "there", b"12345")
    (tmp_path / "there" / "link").symlink_to("0")
    (tmp_path / "there" / "out").symlink_to("../secret")
    assert read(files, "link", 0, 5) == b"12345"
    with pytest.raises(CheckpointError, match="^out: a symlink to .*, outside the checkpoint's folder; put the file"):
        files.facts("out")


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret"])
def test_a_name_does_not_lead_out_of_the_folder(tmp_path, name):
    (tmp_path / "there" / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_text("a password")
    with pytest.raises(CheckpointError, match="outside the checkpoint's folder"):
        LocalFiles(tmp_path / "there").facts(name)


@pytest.mark.parametrize(("kind", "is_called"), [("folder", "a folder"), ("fifo", "a FIFO"), ("device", "a device")])
def test_only_a_regular_file_is_opened(tmp_path, kind, is_called):
    path = tmp_path / "shard"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    files, name = LocalFiles.of_file(path)
    before = open_before()
    with pytest.raises(CheckpointError, match=f"^shard: {is_called}, not a regular file"):
        files.facts(name)
    with pytest.raises(OutputError, match=f"^shard: can no longer be read: {is_called}, not a regular file"):
        files.read(FileFacts(name, 1, "0"), 0, 1)
    assert open_descriptors() == before


def test_a_refused_file_leaves_no_descriptor_open(tmp_path):
    files = folder_of(tmp_path, b"1")
    file = files.facts("0")
    (tmp_path / "0").write_bytes(b"12")
    before = open_before()
    with pytest.raises(CheckpointError, match="changed"):
        files.read(file, 0, 1)
    assert open_descriptors() == before


def test_of_many_files_only_as_many_as_the_limit_are_open(tmp_path):
    before = open_before()
    with folder_of(tmp_path, *(bytes([i]) * 4 for i in range(10)), limit=3) as files:
        for _ in range(2):
            assert [read(files, str(i), 1, 3) for i in range(10)] == [bytes([i, i]) for i in range(10)]
            assert open_descriptors() == before + 3
    assert open_descriptors() == before


def test_what_nobody_holds_any_more_is_closed(tmp_path):
    before = open_before()
    files = folder_of(tmp_path, b"1")
    read(files, "0", 0, 1)
    assert open_descriptors() == before + 1
    del files
    assert open_descriptors() == before


def test_the_file_read_longest_ago_is_closed_first(tmp_path):
    files = folder_of(tmp_path, b"0", b"1", b"2", limit=2)
    facts = [files.facts(str(i)) for i in range(3)]
    for i in (0, 1, 0, 2):
        files.read(facts[i], 0, 1)
    (tmp_path / "0").unlink()  # still open, so it can be read
    assert files.read(facts[0], 0, 1).tobytes() == b"0"
    (tmp_path / "1").unlink()
    with pytest.raises(OutputError, match=r"^1: can no longer be read: no such file"):
        files.read(facts[1], 0, 1)


def test_threads_share_fewer_open_files_than_they_read(tmp_path):
    files = folder_of(tmp_path, *(bytes([i]) * 1000 for i in range(16)), limit=2)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for i in np.random.default_rng(seed).integers(0, 16, 300).tolist():
            if read(files, str(i), 500, 1000) != bytes([i]) * 500:
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closing_lets_a_thread_that_reads_finish(tmp_path, monkeypatch):
    files, preadv = folder_of(tmp_path, b"0123456789"), os.preadv

    def slow(fd, buffers, offset):
        files.close()
        return preadv(fd, [buffers[0][:1]], offset)

    monkeypatch.setattr(os, "preadv", slow)
    assert read(files, "0", 0, 10) == b"0123456789"


@pytest.mark.parametrize("change", ["size", "time"])
def test_the_last_check_notices_a_change(tmp_path, change):
    files, path = folder_of(tmp_path, b"1"), tmp_path / "0"
    before, status = files.facts("0"), path.stat()
    files.read(before, 0, 1)
    if change == "size":
        path.write_bytes(b"12")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        os.utime(path, ns=(0, status.st_mtime_ns + 1_000_000))
    with pytest.raises(ChangedError, match=r"^0: changed or truncated while it was read"):
        files.check_unchanged([before])


def test_a_file_that_is_gone_at_the_last_check_may_come_back(tmp_path):
    files = folder_of(tmp_path, b"1")
    before = files.facts("0")
    (tmp_path / "0").unlink()
    with pytest.raises(OutputError, match=r"^0: can no longer be read: no such file; bring it back, then run again"):
        files.check_unchanged([before])


def test_the_real_path_of_a_file_is_known(tmp_path):
    files = folder_of(tmp_path, b"1")
    (tmp_path / "link").symlink_to("0")
    assert files.local_path("link") == str((tmp_path / "0").resolve())


def test_the_files_of_a_folder_in_the_checkpoint_are_named_as_they_are_read(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("b", "a"):
        (tmp_path / "more" / name).write_bytes(name.encode())
    files = LocalFiles(tmp_path)
    assert files.names_in("more") == ["more/a", "more/b"]
    assert files.read(files.facts("more/b"), 0, 1).tobytes() == b"b"


def test_a_folder_that_is_none_of_the_checkpoints_is_not_listed(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "checkpoint" / "link").symlink_to("../other")
    for name in ("link", "../other", "missing"):
        with pytest.raises(CheckpointError, match=rf"^{re.escape(name)}: "):
            LocalFiles(tmp_path / "checkpoint").names_in(name)
