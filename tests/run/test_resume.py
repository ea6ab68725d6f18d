"""What an interrupted run leaves, and how much of it the next one keeps."""

import errno
import hashlib
import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from failing_disks import InterruptingDisk
from small_checkpoints import small_v3

import deepgguf
from deepgguf.errors import NonFiniteError, OutputError, UsageError
from deepgguf.executors.executor import Executor, Result, Task
from deepgguf.executors.threads import Threads
from deepgguf.planning.schema import Plan
from deepgguf.run.disk import Disk
from deepgguf.run.execute import execute
from deepgguf.run.result import Report
from deepgguf.run.settings import Settings


class LoggingDisk(Disk):
    """Keeps the names of the calls; the first named `fails` fails."""

    def __init__(self, fails: str = "") -> None:
        self.calls, self._fails = [], fails

    def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        self.calls.append(name)
        if name == self._fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return function(*args)


class Twice:
    """Every task is carried out twice."""

    jobs, shares_files = 1, True

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        for task in [*tasks] * 2:
            yield from work(task)


class Elsewhere:
    """The workers do not see the folder."""

    jobs, shares_files = 1, False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        hidden = self._folder.with_name("hidden")
        for task in tasks:
            self._folder.rename(hidden)
            try:
                done = list(work(task))
            finally:
                hidden.rename(self._folder)
            yield from done


class Interrupted:
    """A signal arrives at the first result."""

    jobs, shares_files = 1, True

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        yield from work(next(iter(tasks)))
        raise KeyboardInterrupt


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_v3(tmp_path / "v3")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


ONE = Threads(1)


def run(
    plan: Plan, out: Path, executor: Executor = ONE, disk: Disk | None = None, progress: list[int] | None = None,
    **settings: Any,
) -> Report:  # fmt: skip
    seen: list[int] = [] if progress is None else progress
    return execute(plan, Settings(folder=out, **settings), executor, disk=disk, progress=seen.append)


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def interrupt_before_the_rename(plan: Plan, out: Path, **settings: Any) -> None:
    with pytest.raises(OutputError, match="renaming"):
        run(plan, out, disk=LoggingDisk(fails="rename"), **settings)


def data_bytes(plan: Plan) -> int:
    return sum(tensor.info.nbytes for file in plan.files for tensor in file.tensors)


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def damage_weights(source: Path) -> None:
    """Ends the shard with NaN."""
    shard = source / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1000] + b"\xff" * 1000)


def test_a_signal_during_the_sync_loses_no_piece(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    first_of_data = 1 + [i for i, call in enumerate(calls_of_a_run(plan, out)) if call == "fsync"][2]
    with pytest.raises(KeyboardInterrupt):
        run(plan, out, disk=InterruptingDisk(first_of_data))
    assert names(out) == ["x.gguf.part", "x.gguf.part.journal"]
    report = run(plan, out, left_part="resume")
    assert (report.resumed, report.written) == (data_bytes(plan), 0)


def calls_of_a_run(plan: Plan, out: Path) -> list[str]:
    """Of an undisturbed one, whose files are removed again; the syncs are of journal, folder, data, and so on."""
    disk = LoggingDisk()
    run(plan, out, disk=disk)
    for path in out.iterdir():
        path.unlink()
    return disk.calls


def test_an_interrupted_resume_is_resumed_in_the_same_process(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    interrupt_before_the_rename(plan, out)
    before = open_files()
    with pytest.raises(KeyboardInterrupt) as held:
        run(plan, out, Interrupted(), left_part="resume")
    assert open_files() == before
    assert run(plan, out, left_part="resume").resumed == data_bytes(plan)
    assert held.type is KeyboardInterrupt


def test_claims_are_verified_here_if_the_workers_do_not_see_the_file(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    interrupt_before_the_rename(plan, out)
    report = run(plan, out, Elsewhere(out), left_part="resume")
    assert (report.resumed, report.written) == (data_bytes(plan), 0)


def test_a_claim_that_is_verified_twice_counts_once(source, out):
    damage_weights(source)
    plan = deepgguf.plan(source, out / "x.gguf")
    expected = run(plan, out, allow_nonfinite=True)
    for path in out.iterdir():
        path.unlink()
    interrupt_before_the_rename(plan, out, allow_nonfinite=True)
    progress: list[int] = []
    report = run(plan, out, Twice(), progress=progress, allow_nonfinite=True, left_part="resume")
    assert report.counts == expected.counts
    assert (report.resumed, sum(progress)) == (data_bytes(plan), data_bytes(plan))


def test_progress_does_not_count_a_renamed_file_that_is_made_again(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    run(plan, out)
    expected = (out / "x.gguf").read_bytes()
    (out / "x.gguf").unlink()
    with pytest.raises(OutputError, match="removing"):
        run(plan, out, disk=LoggingDisk(fails="remove"), overwrite=True)
    assert names(out) == ["x.gguf", "x.gguf.json", "x.gguf.part.journal"]
    (out / "x.gguf").write_bytes(expected[:-64] + bytes(64))
    progress: list[int] = []
    report = run(plan, out, progress=progress, overwrite=True, left_part="resume")
    assert (out / "x.gguf").read_bytes() == expected
    assert (report.resumed, sum(progress)) == (0, data_bytes(plan))


def test_an_output_that_is_complete_is_left_and_said_to_be_there(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    run(plan, out)
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.iterdir()}
    disk, progress = LoggingDisk(), list[int]()
    report = run(plan, out, disk=disk, progress=progress, left_part="resume")
    assert disk.calls == []
    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.iterdir()} == before
    assert (report.written, report.resumed, sum(progress)) == (0, data_bytes(plan), data_bytes(plan))
    assert [(file.path, file.size, file.found) for file in report.files] == [(out / "x.gguf", plan.size, True)]


@pytest.mark.parametrize("missing", ["its manifest", "its end", "its name", "the same plan", "the same source"])
def test_a_file_that_no_manifest_vouches_for_is_not_taken_for_complete(source, out, missing):
    plan = deepgguf.plan(source, out / "x.gguf")
    run(plan, out)
    if missing == "its manifest":
        (out / "x.gguf.json").unlink()
    elif missing == "its end":
        os.truncate(out / "x.gguf", plan.size - 1)
    elif missing == "its name":
        (out / "x.gguf").rename(out / "y.gguf")
        (out / "x.gguf.json").rename(out / "y.gguf.json")
        plan = deepgguf.plan(source, out / "y.gguf")
    elif missing == "the same plan":
        plan = deepgguf.plan(source, out / "x.gguf", type="f32")
    else:
        os.utime(source / "model.safetensors", ns=(0, 0))
        plan = deepgguf.plan(source, out / "x.gguf")
    with pytest.raises(UsageError, match=r"[xy]\.gguf: exists; replace it with `overwrite=True`"):
        run(plan, out, left_part="resume")


def test_an_error_that_is_measured_only_while_a_file_is_made_is_not_left_out_in_silence(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    run(plan, out)
    found = r"x\.gguf: is complete already, and its error is measured only while it is made; leave out `measure_error=T"
    with pytest.raises(UsageError, match=found):
        run(plan, out, left_part="resume", measure_error=True)


def test_the_sha256_of_a_complete_output_is_that_of_the_file_as_it_is(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    run(plan, out)
    progress = list[int]()
    report = run(plan, out, progress=progress, left_part="resume", sha256=True)
    assert report.files[0].sha256 == hashlib.sha256((out / "x.gguf").read_bytes()).hexdigest()
    assert sum(progress) == data_bytes(plan)


def test_a_complete_output_that_has_changed_is_found_by_its_sha256(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    run(plan, out, sha256=True)
    with (out / "x.gguf").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x55")
    with pytest.raises(OutputError, match="has changed since it was made: its SHA-256 is not the one in its manifest"):
        run(plan, out, left_part="resume", sha256=True)


def test_what_a_complete_output_has_of_nan_is_still_counted_and_still_to_be_allowed(source, out):
    shard = source / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-2] + b"\xc0\x7f")
    plan = deepgguf.plan(source, out / "x.gguf")
    run(plan, out, allow_nonfinite=True)
    assert run(plan, out, left_part="resume", allow_nonfinite=True).counts.nan == 1
    with pytest.raises(NonFiniteError, match="is complete already, and 1 of its weights are NaN, 0 infinite"):
        run(plan, out, left_part="resume")


def test_a_complete_output_is_made_again_with_overwrite(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    run(plan, out)
    assert run(plan, out, left_part="resume", overwrite=True).written == data_bytes(plan)


def test_progress_counts_a_renamed_file_that_is_whole(source, out):
    plan = deepgguf.plan(source, out / "x.gguf")
    with pytest.raises(OutputError, match="removing"):
        run(plan, out, disk=LoggingDisk(fails="remove"))
    progress: list[int] = []
    assert run(plan, out, progress=progress, left_part="resume").resumed == data_bytes(plan)
    assert sum(progress) == data_bytes(plan)


def test_the_manifest_of_a_replaced_file_goes_even_if_the_run_was_interrupted_before(source, out):
    run(deepgguf.plan(source, out / "x.gguf", type="f32"), out)
    plan = deepgguf.plan(source, out / "x.gguf")
    with pytest.raises(OutputError, match="removing"):
        run(plan, out, disk=LoggingDisk(fails="remove"), overwrite=True, manifest=False)
    assert names(out) == ["x.gguf", "x.gguf.json", "x.gguf.part.journal"]
    run(plan, out, overwrite=True, manifest=False, left_part="resume")
    assert names(out) == ["x.gguf"]


def test_a_part_that_is_about_to_be_removed_is_not_synced(source, out):
    damage_weights(source)
    disk = LoggingDisk()
    with pytest.raises(NonFiniteError):
        run(deepgguf.plan(source, out / "x.gguf"), out, disk=disk)
    assert names(out) == []
    assert disk.calls.count("fsync") == 2  # of the journal's first line, and of the folder
