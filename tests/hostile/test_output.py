"""Rows 63 to 74: what can happen to the output, and what is left of it afterwards."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from accidents import with_accident
from checkpoints import checkpoint
from command import DEEPGGUF, NOT_ALMIGHTY, digest, failed, names, refused, run_deepgguf, start_deepgguf

NAME = "model.gguf"
LEFT = [f"{NAME}.part", f"{NAME}.part.journal"]
SIZE = 7_652_992


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SHA-256 of the file that an undisturbed run writes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    source = checkpoint("v3", folder / "v3")
    assert run_deepgguf("convert", source, "-o", folder / NAME).status == 0
    return digest(folder / NAME)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoint("v3", tmp_path / "v3")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], int]:
    """How many calls that write an undisturbed run makes, with or without an old file in its way."""

    @cache
    def count(old: bool) -> int:
        folder = tmp_path_factory.mktemp("calls")
        source = checkpoint("v3", folder / "v3")
        if old:
            (folder / NAME).write_bytes(bytes(SIZE))
        arguments = ("convert", source, "-o", folder / NAME, "--jobs", "1", "--overwrite")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("DEEPGGUF_CALLS", str(folder / "calls"))
            assert run_deepgguf(*arguments, program=with_accident("count_calls")).status == 0
        return (folder / "calls").stat().st_size

    return count


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator["Mounts"]:
    mounts = Mounts(tmp_path)
    yield mounts
    mounts.end()


class Mounts:
    """File systems in their own mount namespace, which ends with the process that holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.holders = folder, []

    def tmpfs(self, options: str) -> Path:
        """A new tmpfs; its path goes through /proc, because only the holder has it mounted."""
        at = self.folder / f"tmpfs-{len(self.holders)}"
        at.mkdir()
        holder = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", f"mount -t tmpfs -o {options} tmpfs '{at}' && echo && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.read(1) == b"\n"
        return Path(f"/proc/{holder.pid}/root{at}")

    def end(self) -> None:
        for holder in self.holders:
            holder.communicate()


def with_strace(log: Path, *injections: str, path: Path | None = None) -> tuple[str, ...]:
    """The command line under strace, which makes system calls fail, on one path or on all."""
    calls = ",".join(injection.split(":", 1)[0] for injection in injections)
    injected = (f"--inject={injection}" for injection in injections)
    only = () if path is None else ("-P", str(path))
    return ("strace", "-f", "-qq", "-y", "-o", str(log), *only, f"--trace={calls}", *injected, *DEEPGGUF)


def resumed(source: Path, out: Path, undisturbed: str) -> None:
    """`--resume` succeeds, gives the same bytes and leaves nothing else behind."""
    outcome = run_deepgguf("convert", source, "-o", out / NAME, "--resume")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert digest(out / NAME) == undisturbed
    assert names(out) == [NAME, f"{NAME}.json"]


def test_row_63_too_little_free_space_is_refused_before_anything_is_created(source, mounted):
    disk = mounted.tmpfs("size=3M")
    line = refused("convert", source, "-o", disk / NAME, folder=disk, status=4)
    assert f"{disk}: {SIZE:,} bytes are needed, 3,145,728 are free; free space, give another folder as --output" in line


def test_row_63_a_disk_full_at_create_leaves_nothing(source, mounted):
    disk = mounted.tmpfs("size=12M,nr_inodes=1")
    line = refused("convert", source, "-o", disk / NAME, folder=disk, status=4)
    assert line.endswith(
        "model.gguf.part: creating it failed: the disk is full; check the folder's permissions and space"
    )


def test_row_63_a_disk_full_at_create_of_the_journal_leaves_nothing(source, mounted):
    disk = mounted.tmpfs("size=12M,nr_inodes=2")
    line = refused("convert", source, "-o", disk / NAME, folder=disk, status=4)
    assert "model.gguf.part.journal: creating it failed: the disk is full" in line


def test_row_63_a_disk_full_at_allocate_leaves_nothing(source, out, tmp_path):
    program = with_strace(tmp_path / "log", "fallocate:error=ENOSPC")
    line = refused("convert", source, "-o", out / NAME, folder=out, status=4, program=program)
    assert line.endswith(f"reserving {SIZE:,} bytes for it failed: the disk is full; free space, then run again")


def test_row_63_a_disk_full_at_write_keeps_a_part_to_resume(source, out, tmp_path, undisturbed):
    program = with_strace(tmp_path / "log", "pwrite64:error=ENOSPC:when=9+")
    line = failed("convert", source, "-o", out / NAME, "--jobs", "1", status=4, program=program)
    assert line.endswith("writing it failed: the disk is full; what is written stays; run again with --resume")
    assert names(out) == LEFT
    resumed(source, out, undisturbed)


@pytest.mark.parametrize("call", ["pwrite64", "fsync"])
@pytest.mark.parametrize("when", [1, 2, 3])
@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO"])
def test_row_63_a_run_can_be_resumed_after_any_failed_call(source, out, tmp_path, undisturbed, call, when, error):
    program = with_strace(tmp_path / "log", f"{call}:error={error}:when={when}")
    failed("convert", source, "-o", out / NAME, "--jobs", "2", status=4, program=program)
    assert names(out) in ([], LEFT)
    resumed(source, out, undisturbed)


def test_row_64_a_used_up_quota_leaves_nothing(source, out, tmp_path):
    program = with_strace(tmp_path / "log", "fallocate:error=EDQUOT")
    line = refused("convert", source, "-o", out / NAME, folder=out, status=4, program=program)
    assert "the quota is used up" in line


@pytest.mark.parametrize("limit", [0, 100, 1_000_000, SIZE - 1])
def test_row_64_a_file_size_limit_leaves_nothing(source, out, limit):
    line = refused("convert", source, "-o", out / NAME, folder=out, status=4, file_size=limit)
    assert line.endswith(
        f"model.gguf.part: reserving {SIZE:,} bytes for it failed: a file-size limit is reached;"
        " free space, then run again"
    )


def test_row_65_a_read_only_file_system_is_refused(source, mounted):
    disk = mounted.tmpfs("ro")
    line = refused("convert", source, "-o", disk / NAME, folder=disk, status=4)
    assert line.endswith(
        f"{LEFT[0]}: creating it failed: Read-only file system; check the folder's permissions and space"
    )


def test_row_65_a_folder_without_permission_is_refused(source, out, tmp_path):
    """Root may write anywhere, so strace makes the kernel refuse."""
    program = with_strace(tmp_path / "log", "openat:error=EACCES", path=out / LEFT[0])
    line = refused("convert", source, "-o", out / NAME, folder=out, status=4, program=program)
    assert line.endswith(f"{LEFT[0]}: creating it failed: Permission denied; check the folder's permissions and space")


def test_row_65_a_folder_that_does_not_exist_is_refused(source, out):
    line = refused("convert", source, "-o", out / "none" / NAME, folder=out, status=2)
    assert line == f"{out}/none: no such folder; make it, or give another --output"


def test_row_65_a_folder_that_may_not_be_entered_is_refused(source, out):
    out.chmod(0o600)
    line = refused("convert", source, "-o", f"{out}/{NAME}", folder=out, status=4, program=NOT_ALMIGHTY)
    assert line == f"{out}: cannot be entered: Permission denied; look at its permissions, or give another --output"


def test_row_65_a_folder_that_may_not_be_listed_is_refused_for_a_sample(out):
    out.chmod(0o300)
    line = refused("sample", "v3", out, folder=out, status=4, program=NOT_ALMIGHTY)
    assert line == f"{out}: cannot be looked at: Permission denied; name a new one"


@pytest.mark.parametrize("option", ["--overwrite", "--resume", "--restart"])
def test_row_66_an_output_that_is_a_symlink_is_refused(source, out, tmp_path, option):
    (tmp_path / "precious").write_bytes(b"precious")
    (out / NAME).symlink_to(tmp_path / "precious")
    line = refused("convert", source, "-o", out / NAME, option, folder=tmp_path, status=2)
    assert line == f"{out}/{NAME}: is a symlink; give another --output"


@pytest.mark.parametrize("file", LEFT)
@pytest.mark.parametrize("option", ["--resume", "--restart"])
def test_row_66_a_part_or_journal_that_is_a_symlink_is_not_followed(source, out, tmp_path, file, option):
    """A symlink that a stranger made in a shared folder must not make the run write somewhere else."""
    (tmp_path / "precious").write_bytes(b"precious")
    (out / file).symlink_to(tmp_path / "precious")
    run_deepgguf("convert", source, "-o", out / NAME, option)
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_row_66_a_folder_in_place_of_the_default_output_is_refused(source, out):
    (out / "v3-BF16.gguf").mkdir()
    line = refused("convert", source, "-o", out, "--overwrite", folder=out, status=2)
    assert line == f"{out}/v3-BF16.gguf: is not a regular file; give another --output"


def test_row_66_an_output_that_exists_is_refused(source, out):
    (out / NAME).write_bytes(b"old")
    line = refused("convert", source, "-o", out / NAME, folder=out, status=2)
    assert line == f"{out}/{NAME}: exists; replace it with --overwrite, or give another --output"


def test_row_66_an_output_that_is_one_of_the_inputs_is_refused(source):
    (source / "model.safetensors").rename(source / "model.gguf")
    (source / "model.safetensors").symlink_to("model.gguf")
    line = refused("convert", source, "-o", source / "model.gguf", "--overwrite", folder=source, status=2)
    assert line == f"{source}/model.gguf: is one of the inputs; give another --output"


def test_row_66_an_old_output_stays_until_the_new_one_is_complete(source, out, tmp_path):
    (out / NAME).write_bytes(b"old")
    program = with_strace(tmp_path / "log", "fsync:error=EIO:when=2+")
    failed("convert", source, "-o", out / NAME, "--overwrite", status=4, program=program)
    assert (out / NAME).read_bytes() == b"old"


def started_slowly(source: Path, out: Path, *options: str) -> "subprocess.Popen[bytes]":
    """A run that has written and recorded some pieces and has seconds left."""
    process = start_deepgguf(
        "convert", source, "-o", out / NAME, "--jobs", "1", *options, program=with_accident("slow")
    )
    journal, deadline = out / LEFT[1], time.monotonic() + 60
    while not (journal.exists() and b"\n" in journal.read_bytes()[:-1]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_row_67_two_runs_on_one_output_second_is_refused_first_finishes(source, out, undisturbed):
    left = "an interrupted run, or one at work, left this part; resume it with --resume, or discard it with --restart"
    locked = "another run is writing this file; wait for it, or give another --output"
    with started_slowly(source, out) as first:
        for options, found in (((), left), (("--resume",), locked), (("--restart",), locked)):
            assert failed("convert", source, "-o", out / NAME, *options, status=4) == f"{out}/{LEFT[0]}: {found}"
        assert first.poll() is None
        first.communicate()
    assert first.returncode == 0
    assert digest(out / NAME) == undisturbed


def test_row_68_short_writes_are_continued(source, out, undisturbed):
    outcome = run_deepgguf("convert", source, "-o", out / NAME, program=with_accident("short_writes"))
    assert outcome.status == 0
    assert digest(out / NAME) == undisturbed


def syncs(log: Path, file: str) -> list[str]:
    return [line for line in log.read_text().splitlines() if "fsync(" in line and f"/{file}>" in line]


def test_row_69_a_failed_fsync_of_the_data_is_never_retried(source, out, tmp_path, undisturbed):
    program = with_strace(tmp_path / "log", "fsync:error=EIO:when=3")
    line = failed("convert", source, "-o", out / NAME, "--jobs", "1", status=4, program=program)
    assert (
        line
        == f"{out}/{LEFT[0]}: syncing it failed: Input/output error; what is written stays; run again with --resume"
    )
    of_part = syncs(tmp_path / "log", LEFT[0])
    assert len(of_part) == 1
    assert "EIO" in of_part[0]
    assert not (out / NAME).exists()
    resumed(source, out, undisturbed)


def test_row_69_a_failed_fsync_of_the_journal_is_never_retried(source, out, tmp_path, undisturbed):
    program = with_strace(tmp_path / "log", "fsync:error=EIO:when=1")
    failed("convert", source, "-o", out / NAME, "--jobs", "1", status=4, program=program)
    assert len(syncs(tmp_path / "log", LEFT[1])) == 1
    assert names(out) == []
    resumed(source, out, undisturbed)


def test_row_70_a_failed_rename_can_be_resumed(source, out, tmp_path, undisturbed):
    program = with_strace(tmp_path / "log", "rename:error=EXDEV")
    line = failed("convert", source, "-o", out / NAME, status=4, program=program)
    assert line.startswith(f"{out}/{NAME}: renaming {NAME}.part to it failed: Invalid cross-device link; ")
    assert names(out) == [f"{NAME}.json.part", *LEFT]
    resumed(source, out, undisturbed)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_row_71_a_run_ended_by_a_signal_can_be_resumed(source, out, undisturbed, number, status):
    with started_slowly(source, out) as process:
        process.send_signal(number)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout) == (status, b"")
    line = (
        f"deepgguf: {number.name}: stopped; if a conversion was under way, the same command with --resume resumes it\n"
    )
    assert stderr.decode() == line
    assert names(out) == LEFT
    resumed(source, out, undisturbed)


def test_row_71_a_run_killed_by_sigkill_can_be_resumed(source, out, undisturbed):
    with started_slowly(source, out) as process:
        process.kill()
    assert names(out) == LEFT
    resumed(source, out, undisturbed)


def test_row_71_a_part_is_refused_without_resume_or_restart(source, out, undisturbed):
    with started_slowly(source, out) as process:
        process.kill()
    line = refused("convert", source, "-o", out / NAME, folder=out, status=4)
    assert line.endswith("left this part; resume it with --resume, or discard it with --restart")
    assert run_deepgguf("convert", source, "-o", out / NAME, "--restart").status == 0
    assert digest(out / NAME) == undisturbed


def test_row_71_a_part_of_another_plan_is_not_resumed(source, out):
    with started_slowly(source, out) as process:
        process.kill()
    line = refused("convert", source, "-o", out / NAME, "--resume", "--type", "f32", folder=out, status=4)
    assert "belongs to another plan" in line


def test_row_71_resume_with_nothing_to_resume_starts_afresh(source, out, undisturbed):
    resumed(source, out, undisturbed)


def test_row_71_a_part_does_not_load_as_a_model(source, out):
    with started_slowly(source, out) as process:
        process.kill()
    assert (out / LEFT[0]).read_bytes()[:4] == bytes(4)
    assert run_deepgguf("inspect", out / LEFT[0]).status == 3


@pytest.mark.parametrize("damage", [b"\0", b"{{", b"[]\n", b'{"schema": 9}\n', b"\xff\xfe\n"])
def test_row_73_a_journal_with_a_damaged_header_is_refused(source, out, damage, undisturbed):
    with started_slowly(source, out) as process:
        process.kill()
    journal = out / LEFT[1]
    text = journal.read_bytes()
    journal.write_bytes(damage + text[len(damage) :])
    line = refused("convert", source, "-o", out / NAME, "--resume", folder=out, status=4)
    assert line == f"{journal}: the journal's header is damaged or of another version; discard it with --restart"
    assert run_deepgguf("convert", source, "-o", out / NAME, "--restart").status == 0
    assert digest(out / NAME) == undisturbed


def interrupted(source: Path, out: Path, tmp_path: Path) -> Path:
    """The journal of a run that did everything but the last rename."""
    failed("convert", source, "-o", out / NAME, status=4, program=with_strace(tmp_path / "log", "rename:error=EXDEV"))
    return out / LEFT[1]


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_row_73_a_journal_with_a_damaged_record_is_resumed(source, out, tmp_path, undisturbed, place):
    journal = interrupted(source, out, tmp_path)
    text = bytearray(journal.read_bytes())
    start = text.index(b"\n") + 1
    text[start + int((len(text) - start) * place)] ^= 1
    journal.write_bytes(text)
    resumed(source, out, undisturbed)


def test_row_73_a_journal_with_a_hole_of_a_terabyte_behind_its_records_is_resumed(source, out, tmp_path, undisturbed):
    os.truncate(interrupted(source, out, tmp_path), 1 << 40)
    resumed(source, out, undisturbed)


def test_row_73_a_journal_that_claims_what_the_part_does_not_hold_is_not_believed(source, out, tmp_path, undisturbed):
    interrupted(source, out, tmp_path)
    with (out / LEFT[0]).open("r+b") as part:
        part.seek(SIZE // 2)
        part.write(bytes(2**20))
    resumed(source, out, undisturbed)


def test_row_73_a_journal_without_its_part_starts_afresh(source, out, tmp_path, undisturbed):
    interrupted(source, out, tmp_path)
    (out / LEFT[0]).unlink()
    resumed(source, out, undisturbed)


def test_row_73_a_journal_without_its_part_does_not_replace_an_older_file(source, out, tmp_path, undisturbed):
    interrupted(source, out, tmp_path)
    (out / LEFT[0]).unlink()
    (out / NAME).write_bytes(bytes(SIZE))
    refused("convert", source, "-o", out / NAME, "--resume", folder=out, status=2)
    assert run_deepgguf("convert", source, "-o", out / NAME, "--resume", "--overwrite").status == 0
    assert digest(out / NAME) == undisturbed


def test_row_74_an_exception_in_a_worker_ends_the_run_as_a_bug(source, out, undisturbed):
    line = failed("convert", source, "-o", out / NAME, status=70, program=with_accident("worker_exception"))
    assert line.startswith("a bug: ValueError in accidents.py:")
    assert line.endswith("no such row:\\x0a\\x1b[2J7; please report it, with the command")
    assert not (out / NAME).exists()
    resumed(source, out, undisturbed)


def test_row_74_a_worker_out_of_memory_ends_the_run(source, out):
    program = with_accident("worker_out_of_memory")
    line = refused("convert", source, "-o", out / NAME, folder=out, status=4, program=program)
    assert line == "out of memory; give fewer --jobs"


def test_a_deep_path_does_not_crowd_out_the_message(source, out):
    deep = out / "/".join(["x" * 200] * 10)
    deep.mkdir(parents=True)
    (deep / NAME).write_bytes(b"old")
    line = refused("convert", source, "-o", deep / NAME, folder=out, status=2)
    assert f"/{NAME}: exists; replace it with --overwrite" in line


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("cut", [3, 5, 8, 13, 21, 34, 55, -9, -7, -5, -4, -3, -2, -1])
def test_row_72_a_power_cut_leaves_no_damaged_file(source, out, undisturbed, calls, monkeypatch, cut, old):
    """The power fails before writing call number `cut`; a negative number counts from the last call."""
    monkeypatch.setenv("DEEPGGUF_FOLDER", str(out))
    monkeypatch.setenv("DEEPGGUF_CUT", str(cut if cut > 0 else calls(old) + 1 + cut))
    if old:
        (out / NAME).write_bytes(bytes(SIZE))
    arguments = ("convert", source, "-o", out / NAME, "--jobs", "1", "--overwrite")
    assert run_deepgguf(*arguments, program=with_accident("power_cut")).status == -signal.SIGKILL
    if (out / NAME).exists():
        assert digest(out / NAME) == undisturbed or (old and (out / NAME).read_bytes() == bytes(SIZE))
    assert run_deepgguf(*arguments, "--resume").status == 0
    assert digest(out / NAME) == undisturbed
    assert names(out) == [NAME, f"{NAME}.json"]
