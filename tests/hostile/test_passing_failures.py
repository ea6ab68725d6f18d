"""Rows 84, 89, 95 and 97: what passes by itself, or is missing, while a run is at work. Nothing that was synced is lost."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from command import DEEPGGUF, failed, refused, run_deepgguf
from test_output import LEFT, NAME, digest, names, resumed, started_slowly, with_strace

import deepgguf
from deepgguf import sample
from deepgguf.executors.threads import _Crew
from deepgguf.run import worker

SHARDS = 12
FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 20 && exec "$@"', "sh", *DEEPGGUF)
STAT = "?newfstatat,?lstat,?statx"
READ = "?preadv,?preadv2"
CLONE = "?clone3,?clone"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return sample("v3", tmp_path / "v3", shards=SHARDS).folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SHA-256 of the file that an undisturbed run writes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    deepgguf.convert(sample("v3", folder / "v3", shards=SHARDS).folder, folder / NAME)
    return digest(folder / NAME)


def recorded(out: Path) -> bool:
    """Whether the journal beside the part claims anything."""
    return b"\n" in (out / LEFT[1]).read_bytes()[:-1]


def ended_in_the_middle(source: Path, out: Path, accident: Callable[[], object]) -> tuple[int, str]:
    """Exit status and line of a run under which `accident()` happens when it has recorded some pieces."""
    with started_slowly(source, out) as process:
        accident()
        _, stderr = process.communicate()
    return process.returncode, stderr.decode().removesuffix("\n")


def test_row_84_a_source_that_is_unmounted_in_the_middle_is_waited_for(source, out, undisturbed):
    status, line = ended_in_the_middle(source, out, lambda: source.rename(source.with_name("away")))
    assert status == 4
    assert line.startswith("deepgguf: model-000")
    assert line.endswith("can no longer be read: no such file; bring it back, then run again with --resume")
    assert names(out) == LEFT
    assert recorded(out)
    source.with_name("away").rename(source)
    resumed(source, out, undisturbed)


def test_row_84_a_source_that_is_touched_in_the_middle_keeps_what_was_written(source, out, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in source.glob("*.safetensors")}
    status, line = ended_in_the_middle(source, out, lambda: [os.utime(path, ns=(0, 0)) for path in before])
    assert status == 1
    assert line.endswith("put back what was there and run again with --resume, or start over with --restart")
    assert names(out) == LEFT
    assert recorded(out)
    for path, mtime in before.items():
        os.utime(path, ns=(0, mtime))
    resumed(source, out, undisturbed)


@pytest.mark.parametrize(
    ("injection", "found"),
    [
        (f"{READ}:error=EIO:when=9", "failed: Input/output error; check the disk, then run again with --resume"),
        ("openat:error=ESTALE:when=3", "cannot be opened: Stale file handle; check the disk and the permissions, then"),
        ("openat:error=ENOENT:when=3", "can no longer be read: no such file; bring it back, then run again with"),
        ("openat:error=ENFILE:when=3+", "cannot be opened: Too many open files in system; allow more open files"),
    ],
)
def test_row_84_the_kernel_fails_for_a_moment(tmp_path, out, injection, found):
    """In a worker that reads; in the look at the source with which a run ends, its third opening by that thread."""
    source = sample("v3", tmp_path / "v3").folder
    program = with_strace(tmp_path / "log", injection, path=source / "model.safetensors")
    line = failed("convert", source, "-o", out / NAME, "--jobs", "1", status=4, program=program)
    assert line.startswith("model.safetensors: ")
    assert found in line
    assert [name for name in names(out) if "json" not in name] == LEFT
    assert recorded(out)
    assert run_deepgguf("convert", source, "-o", out / NAME, "--resume").status == 0
    assert names(out) == [NAME, f"{NAME}.json"]


def test_row_84_a_journal_that_cannot_be_looked_for_is_not_taken_for_none(source, out, tmp_path, undisturbed):
    with started_slowly(source, out) as process:
        process.kill()
    held = (out / LEFT[0]).read_bytes()
    program = with_strace(tmp_path / "log", f"{STAT}:error=EIO:when=2", path=out / LEFT[1])
    failed("convert", source, "-o", out / NAME, "--resume", status=4, program=program)
    assert (out / LEFT[0]).read_bytes() == held
    resumed(source, out, undisturbed)


def test_row_84_more_shards_than_files_that_may_be_open_are_converted_and_verified(tmp_path, out):
    source = sample("v3", tmp_path / "v3", shards=40).folder
    for arguments in (("convert", source, "-o", out / NAME), ("verify", out / NAME, source)):
        outcome = run_deepgguf(*arguments, "--jobs", "16", program=FEW_DESCRIPTORS, memory=2**31)
        assert (outcome.status, outcome.stderr) == (0, "")


def waits_for_threads() -> bool:
    """Whether the main thread is where it lets its threads come to an end, and has handled what came before."""
    frame: FrameType | None = sys._current_frames()[threading.main_thread().ident or 0]
    calls = []
    while frame:
        calls.append(frame.f_code)
        frame = frame.f_back
    return calls[0].co_name == "wait" and _Crew.end.__code__ in calls


def test_row_89_after_several_interrupts_nothing_is_written_any_more(source, out, undisturbed, monkeypatch):
    at_work, make_piece, in_a_row = set(), worker.make_piece, threading.Lock()
    sent = []

    def interrupted(*arguments: Any) -> Any:
        at_work.add(threading.get_ident())
        with in_a_row:  # not two at once, of which the second would find the first being handled
            for _ in range(3):
                while sent and not waits_for_threads():
                    time.sleep(0.001)
                sent.append(os.kill(os.getpid(), signal.SIGINT))  # KeyboardInterrupt in the main thread, each time
                time.sleep(0.02)
        time.sleep(1)  # the interrupts are over, the piece is not
        at_work.discard(threading.get_ident())
        return make_piece(*arguments)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(worker, "make_piece", interrupted)
        deepgguf.convert(source, out / NAME, jobs=2)
    assert at_work == set()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("deepgguf-")] == []
    resumed(source, out, undisturbed)


def test_row_95_a_journal_that_is_a_fifo_is_refused_without_waiting(source, out, undisturbed):
    (out / LEFT[0]).write_bytes(b"")
    os.mkfifo(out / LEFT[1])
    line = refused("convert", source, "-o", out / NAME, "--resume", folder=out, status=4)
    assert line.startswith(f"{out / LEFT[1]}: is not a regular file; ")
    assert run_deepgguf("convert", source, "-o", out / NAME, "--restart").status == 0
    assert digest(out / NAME) == undisturbed


def test_row_95_a_part_that_is_a_fifo_is_refused_without_waiting(source, out, undisturbed):
    os.mkfifo(out / LEFT[0])
    line = refused("convert", source, "-o", out / NAME, "--resume", folder=out, status=4)
    assert line.startswith(f"{out / LEFT[0]}: is not a regular file; ")
    assert run_deepgguf("convert", source, "-o", out / NAME, "--restart").status == 0
    assert digest(out / NAME) == undisturbed


@pytest.mark.parametrize("command", ["convert", "plan"])
@pytest.mark.parametrize(
    ("jobs", "found"),
    [
        ("-1", "at least 1, not -1"),
        ("0", "at least 1, not 0"),
        ("5000", "at most 4096"),
        (str(10**20), "at most 2^63 - 1"),
    ],
)
def test_row_95_a_number_of_jobs_that_makes_no_sense_is_refused(source, out, command, jobs, found):
    line = refused(command, source, "-o", out / NAME, "--jobs", jobs, folder=out, status=2)
    assert line == f"--jobs must be {found}"


@pytest.mark.parametrize(("when", "status"), [("1..9", 0), ("1+", 4)])
def test_row_95_a_lock_that_is_interrupted_is_tried_again_but_not_for_ever(source, out, tmp_path, when, status):
    program = with_strace(tmp_path / "log", f"flock:error=EINTR:when={when}")
    outcome = run_deepgguf("convert", source, "-o", out / NAME, program=program, timeout=60)
    assert outcome.status == status
    if status:
        assert "model.gguf.part: locking it failed: Interrupted system call; try again, or give" in outcome.stderr
        assert names(out) == []


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP"])
def test_row_97_a_file_system_without_locks_is_written_to_without(source, out, tmp_path, undisturbed, error):
    program = with_strace(tmp_path / "log", f"flock:error={error}")
    assert run_deepgguf("convert", source, "-o", out / NAME, program=program).status == 0
    assert digest(out / NAME) == undisturbed


def test_row_97_a_lock_that_fails_is_not_said_to_be_another_run(source, out, tmp_path):
    program = with_strace(tmp_path / "log", "flock:error=ENOLCK")
    line = refused("convert", source, "-o", out / NAME, folder=out, status=4, program=program)
    assert line == f"{out / LEFT[0]}: locking it failed: No locks available; try again, or give another --output"


@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EOPNOTSUPP"])
def test_row_97_a_folder_that_cannot_be_synced_ends_no_run(source, out, tmp_path, undisturbed, error):
    program = with_strace(tmp_path / "log", f"fsync:error={error}", path=out)
    assert run_deepgguf("convert", source, "-o", out / NAME, program=program).status == 0
    assert error in (tmp_path / "log").read_text()
    assert digest(out / NAME) == undisturbed


@pytest.mark.parametrize("error", ["EOPNOTSUPP", "ENOSYS"])
def test_row_97_a_file_system_that_reserves_nothing_ends_no_run(source, out, tmp_path, undisturbed, error):
    program = with_strace(tmp_path / "log", f"fallocate:error={error}")
    assert run_deepgguf("convert", source, "-o", out / NAME, program=program).status == 0
    assert digest(out / NAME) == undisturbed


def test_row_97_threads_that_cannot_be_started_leave_their_work_to_the_others(source, out, tmp_path, undisturbed):
    program = with_strace(tmp_path / "log", f"{CLONE}:error=EAGAIN:when=2+")
    assert run_deepgguf("convert", source, "-o", out / NAME, "--jobs", "4", program=program).status == 0
    assert digest(out / NAME) == undisturbed


def test_row_97_a_system_that_starts_no_thread_is_said_to(source, out, tmp_path):
    program = with_strace(tmp_path / "log", f"{CLONE}:error=EAGAIN")
    line = refused("convert", source, "-o", out / NAME, "--jobs", "4", folder=out, status=4, program=program)
    assert line.startswith("threads: the system starts none: can't start new thread; end other programs")
