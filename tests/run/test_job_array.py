"""Tasks that share a split set, `--part I/N`: each may be killed and run again, beside the others, in the same folder."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from failing_disks import KillingDisk
from small_checkpoints import small_v3

import deepgguf
from deepgguf.errors import OutputError, UsageError
from deepgguf.executors.threads import Threads
from deepgguf.run.disk import Disk
from deepgguf.run.one_by_one import execute_one_by_one
from deepgguf.run.result import Report
from deepgguf.run.settings import Settings
from web_server import MODEL, speak_for_the_hub, web_of

CHOICES = {"type": "q8_0", "target": "llama.cpp", "split_max_tensors": 7}
FILES = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return small_v3(tmp_path_factory.mktemp("source") / "v3")


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory) -> dict[str, bytes]:
    """What one run makes: files and manifests by their names."""
    folder = tmp_path_factory.mktemp("whole")
    made = deepgguf.convert(source, folder / "model.gguf", sha256=True, **CHOICES)
    assert len(made.files) == FILES
    return files_in(folder)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def task(source: Path, folder: Path, part: str, disk: Disk | None = None) -> Report:
    """One run of a task."""
    made = deepgguf.plan(source, folder / "model.gguf", part=part, **CHOICES)
    return execute_one_by_one(made, Settings(folder=folder), Threads(1), disk=disk)


def numbers(report: Report) -> list[int]:
    return [int(file.path.name.split("-")[1]) for file in report.files]


def test_tasks_at_work_at_once_in_one_folder_make_the_files_of_one_run(source, whole, tmp_path):
    parts = ["1/3", "2/3", "3/3"]
    with ThreadPoolExecutor(3) as pool:
        made = pool.map(lambda part: deepgguf.convert(source, tmp_path / "model.gguf", part=part, **CHOICES), parts)
    assert [numbers(report) for report in made] == [[1, 4], [2, 5], [3]]
    assert files_in(tmp_path) == whole


def test_a_task_that_is_done_writes_nothing_when_it_is_run_again(source, whole, tmp_path):
    first = task(source, tmp_path, "1/1")
    disk = KillingDisk(1)
    again = task(source, tmp_path, "1/1", disk)
    assert disk.calls == 0
    assert again.written == 0
    assert again.resumed == first.written
    assert [file.sha256 for file in again.files] == [file.sha256 for file in first.files]
    assert [file.found for file in again.files] == [True] * FILES


def test_a_task_that_is_killed_is_finished_by_the_same_command(source, whole, tmp_path):
    share = {name: data for name, data in whole.items() if int(name.split("-")[1]) in (2, 4)}
    kills = 0
    while killed(source, tmp_path, at=1 + 8 * kills):
        assert all(files_in(tmp_path)[name] == data for name, data in share.items() if (tmp_path / name).exists())
        task(source, tmp_path, "2/2")
        assert files_in(tmp_path) == share
        for path in tmp_path.iterdir():
            path.unlink()
        kills += 1
    assert kills > 5


def killed(source: Path, folder: Path, at: int) -> bool:
    """Whether a task that is killed before its call number `at` to the disk came so far."""
    child = os.fork()
    if not child:
        task(source, folder, "2/2", KillingDisk(at))
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_file_of_another_conversion_is_not_taken_for_a_finished_one(source, whole, tmp_path):
    deepgguf.convert(source, tmp_path / "model.gguf", part=2, **CHOICES | {"type": "q5_0"})
    before = files_in(tmp_path)
    with pytest.raises(UsageError, match=r"model-00002-of-00005\.gguf: exists; replace it"):
        task(source, tmp_path, "2/5")
    assert files_in(tmp_path) == before


def test_a_file_that_another_task_is_writing_is_left_to_it(source, tmp_path):
    class Second(Disk):
        """Another task of the same share begins while this one gives the first file its name."""

        def rename(self, old: Path, new: Path) -> None:
            if old.name.endswith(".gguf.part"):
                with pytest.raises(OutputError, match="another run is writing this file"):
                    task(source, tmp_path, "1/5")
            super().rename(old, new)

    assert numbers(task(source, tmp_path, "1/5", Second())) == [1]


def test_a_task_without_manifests_is_refused(source, tmp_path):
    made = deepgguf.plan(source, tmp_path / "model.gguf", part="1/2", **CHOICES)
    with pytest.raises(
        UsageError, match="`part` needs the manifests, which tell which files are complete; leave out `manifest=False`"
    ):
        made.run(manifest=False)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("6/8", "`part`: there is no file for 6/8, only 5 in all; use no more tasks than files"),
        ("0/4", "`part`: 0/4 is not a task: they are numbered from 1 to N; add 1 if yours are numbered from 0"),
        ("5/4", "`part`: 5/4 is not a task: they are numbered from 1 to N; add 1 if yours are numbered from 0"),
        ("1/", "`part`: '1/' is neither a number nor I/N; give one such as 3, or 3/16"),
    ],
)
def test_a_share_that_nothing_belongs_to_is_refused(source, part, message):
    with pytest.raises(UsageError) as error:
        deepgguf.plan(source, part=part, **CHOICES)
    assert str(error.value) == message


def test_tasks_that_read_from_the_hub_may_share_a_cache(source, whole, tmp_path, monkeypatch):
    def make(part: str) -> Report:
        return deepgguf.convert(f"hf:{MODEL}", out / "model.gguf", part=part, cache=tmp_path / "cache", **CHOICES)

    out = tmp_path / "out"
    out.mkdir()
    with web_of(source) as web, ThreadPoolExecutor(3) as pool:
        speak_for_the_hub(monkeypatch, web, tmp_path / "none")
        assert sum(len(report.files) for report in pool.map(make, ["1/3", "2/3", "3/3"])) == FILES
    made = files_in(out)
    weights_only = [name for name in whole if name.endswith(".gguf") and "-00001-" not in name]  # the first has keys
    assert [made[name] for name in weights_only] == [whole[name] for name in weights_only]


def test_a_gguf_file_is_quantized_by_tasks_too(source, tmp_path):
    deepgguf.convert(source, tmp_path / "plain.gguf", target="llama.cpp")
    for folder in ("whole", "tasks"):
        (tmp_path / folder).mkdir()
    choices = {"type": "q8_0", "split_max_tensors": 9}
    deepgguf.quantize(tmp_path / "plain.gguf", tmp_path / "whole" / "model.gguf", sha256=True, **choices)
    for part in ("1/2", "2/2"):
        deepgguf.quantize(tmp_path / "plain.gguf", tmp_path / "tasks" / "model.gguf", part=part, **choices)
    assert files_in(tmp_path / "tasks") == files_in(tmp_path / "whole")
