"""What every cluster relies on, by one whose nodes are in this process: workers elsewhere write, settle, then report."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from s3_conversions import small_parts
from small_checkpoints import small_v3

import deepgguf
from cloud_server import BUCKET, cloud_server
from deepgguf.cli import main
from deepgguf.errors import OutputError, UsageError
from deepgguf.executors import node
from deepgguf.executors.executor import Cluster, Result, Task
from deepgguf.executors.ray import Ray
from deepgguf.executors.threads import Threads
from deepgguf.files.local import LocalFiles
from deepgguf.planning import windows
from deepgguf.run.disk import Disk
from deepgguf.run.execute import execute
from deepgguf.run.s3 import far_parts, parts
from deepgguf.run.settings import Settings


class Standin(Cluster):
    """Two nodes take turns; everything is sent, the last task comes first, and every task is carried out twice."""

    jobs, again, done = 2, {"a node left": 1}, {}

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        sent = pickle.dumps(work)
        for number, task in enumerate([*reversed(list(tasks))] * 2):
            with at(f"node-{number % 2}"):
                done = list(pickle.loads(sent)(pickle.loads(pickle.dumps(task))))
            yield from pickle.loads(pickle.dumps(done))

    def for_tasks(self, memory: int, ahead: int) -> "Standin":
        return self

    def everywhere(self, look: Callable[[], Result]) -> Mapping[str, Result]:
        seen = {}
        for name in ("node-0", "node-1"):
            with at(name):
                seen[name] = pickle.loads(pickle.dumps(look))()
        return seen


class at:  # noqa: N801
    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        node.be_at(self.name)

    def __exit__(self, *_: object) -> None:
        node.be_at("")


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(windows, "_LARGEST", 64 << 10)


@pytest.fixture
def source(tmp_path):
    return small_v3(tmp_path / "v3")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.gguf")}


CASES = {"plain": {}, "quantized": {"type": "q4_k_m"}, "split set": {"split_max_tensors": 12, "target": "llama.cpp"}}


@pytest.mark.parametrize("case", CASES)
def test_workers_on_other_machines_write_the_same_bytes(source, tmp_path, case):
    made = {}
    for name, by in (("expected", Threads(2)), ("found", Standin())):
        (tmp_path / name).mkdir()
        made[name] = deepgguf.convert(source, tmp_path / name / "x.gguf", executor=by, **CASES[case])
    assert digests(tmp_path / "found") == digests(tmp_path / "expected")
    pieces = sum(made["found"].nodes.values())
    assert made["found"].nodes.keys() == {"node-0", "node-1"} and pieces >= sum(
        len(f.tensors) for f in made["found"].files
    )
    assert (made["found"].again, made["found"].came_back) == ({"a node left": 1}, "")
    assert made["expected"].nodes == {}


class Watched(Disk):
    """Says what was called, in whichever copy."""

    calls: list[tuple[str, object]] = []  # noqa: RUF012

    def call(self, name: str, function: Callable[..., object], *args: object) -> object:
        self.calls.append((name, args[1] if name == "open" else node.here()))
        return function(*args)


def test_what_a_worker_reports_is_synced_by_its_own_machine(source, tmp_path, monkeypatch):
    class Watching(Standin):
        def map(self, work, tasks):
            for task in tasks:
                Watched.calls.clear()
                yield from super().map(work, [task])
                assert [call for call, at in Watched.calls if at == "node-0"][-1] == "fsync"
                opened = [flags for call, flags in Watched.calls if call == "open"]
                assert {flags & os.O_ACCMODE for flags in opened} == {os.O_WRONLY}

    plan = deepgguf.plan(source, tmp_path / "x.gguf")
    execute(plan, Settings(tmp_path), Watching(), disk=Watched())
    assert deepgguf.verify(tmp_path / "x.gguf", source).differences == ()


class BlindNode(Disk):
    """node-1 does not see the folder."""

    def call(self, name: str, function: Callable[..., object], *args: object) -> object:
        if node.here() == "node-1":
            raise FileNotFoundError(2, "No such file or directory")
        return function(*args)


def test_where_one_node_does_not_see_the_output_bytes_come_back_and_the_report_says_so(source, tmp_path):
    plan = deepgguf.plan(source, tmp_path / "x.gguf")
    report = execute(plan, Settings(tmp_path), Standin(), disk=BlindNode())
    assert report.came_back == (
        "node-1 cannot write there (opening it failed: No such file or directory), so all workers sent their bytes here; "
        "put the output on shared storage, or in S3 with the credentials on every node"
    )
    assert deepgguf.verify(tmp_path / "x.gguf", source).differences == ()


class NotSeenFrom(LocalFiles):
    """A folder that node-1 does not have."""

    def readinto(self, file, offset, buffer):
        if node.here() == "node-1":
            raise OutputError(file.name, "cannot be opened: No such file or directory")
        super().readinto(file, offset, buffer)


def test_a_node_that_cannot_read_the_source_is_named_before_the_work(source, tmp_path):
    found = rf"^node node-1: cannot read {source}/model.safetensors: .*No such file or directory; put the source where .* every node has the credentials$"
    with pytest.raises(OutputError, match=found):
        deepgguf.convert(NotSeenFrom(source), tmp_path / "x.gguf", executor=Standin())
    assert list(tmp_path.glob("x.*")) == []


def test_every_node_must_see_what_is_verified(source, tmp_path):
    deepgguf.convert(source, tmp_path / "x.gguf")
    assert deepgguf.verify(tmp_path / "x.gguf", source, remake=True, executor=Standin()).differences == ()
    with pytest.raises(OutputError, match=r"^node node-1: cannot read "):
        deepgguf.verify(tmp_path / "x.gguf", NotSeenFrom(source), executor=Standin())


@pytest.fixture
def cloud(monkeypatch):
    for module, name in ((parts, "_PART"), (parts, "_STEP"), (far_parts, "_LEAST")):
        monkeypatch.setattr(module, name, getattr(module, name))
    small_parts()
    monkeypatch.setattr(far_parts, "_LEAST", 1)
    with cloud_server() as server:
        yield server


def test_workers_on_other_machines_upload_their_parts(source, tmp_path, cloud):
    choices = {"type": "q8_0", "split_max_tensors": 20, "target": "llama.cpp"}
    (tmp_path / "local").mkdir()
    deepgguf.convert(source, tmp_path / "local" / "x.gguf", **choices)
    report = deepgguf.convert(source, f"s3://{BUCKET}/far/x.gguf", executor=Standin(), **choices)
    found = {file.path.name: sha256(cloud.get(file.path.key)).hexdigest() for file in report.files}
    assert found == digests(tmp_path / "local")
    assert report.came_back == "" and cloud.uploads() == []


def test_of_an_upload_that_was_interrupted_only_the_missing_parts_are_made(source, tmp_path, cloud):
    class Interrupted(Standin):
        def map(self, work, tasks):
            for number, task in enumerate(tasks):
                if number == 1:
                    raise OutputError("Ray", "gone")
                yield from super().map(work, [task])

    address = f"s3://{BUCKET}/again/x.gguf"
    with pytest.raises(OutputError, match="gone"):
        deepgguf.convert(source, address, executor=Interrupted())
    report = deepgguf.convert(source, address, executor=Standin(), resume=True)
    deepgguf.convert(source, tmp_path / "x.gguf")
    assert cloud.get("again/x.gguf") == (tmp_path / "x.gguf").read_bytes()
    assert report.resumed > 20_000


def test_ray_is_imported_only_for_a_cluster(source, tmp_path):
    program = """
import sys
from deepgguf.cli import main
assert main(["convert", sys.argv[1], "-o", sys.argv[2]]) == 0
from deepgguf import Cluster, Ray
assert issubclass(Ray, Cluster) and "ray" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, source, tmp_path / "x.gguf"], check=True, stdout=subprocess.DEVNULL)


def test_an_executor_that_nobody_knows_is_refused(source, tmp_path, capsys):
    assert main(["convert", str(source), "-o", str(tmp_path / "x.gguf"), "--executor", "dask"]) == 2
    said = "deepgguf: --executor: 'dask' is unknown; choose from threads, ray, ray:HOST:PORT\n"
    assert capsys.readouterr().err == said


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        UsageError, match=r"^`executor` needs Ray, which is not installed; `pip install 'deepgguf\[ray\]'`$"
    ):
        list(Ray().map(str, []))
