"""Any executor, near or far, makes the same bytes: tasks, work and results are plain data."""

import pickle
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import pytest
from small_checkpoints import small_ocr, small_v3

import deepgguf
from deepgguf.executors.executor import Result, Task
from deepgguf.executors.threads import Threads
from golden import GOLDENS


class Far:
    """Everything is sent, nothing shared: the caller writes what comes back, last task first and every task twice."""

    jobs, shares_files = 1, False

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        there = pickle.loads(pickle.dumps(work))
        for task in [*reversed(list(tasks))] * 2:
            yield from pickle.loads(pickle.dumps(list(there(pickle.loads(pickle.dumps(task))))))


def carried_out(work: Callable[[Task], Iterable[Result]], task: Task) -> list[Result]:
    return list(work(task))


class Processes:
    """Other processes of this machine, which write their pieces themselves."""

    jobs, shares_files = 2, True

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        with ProcessPoolExecutor(self.jobs, mp_context=get_context("spawn")) as pool:
            for done in [pool.submit(carried_out, work, task) for task in tasks]:
                yield from done.result()


class Forgetful:
    """The last result of every task is lost."""

    jobs, shares_files = 1, True

    def map(self, work: Callable[[Task], Iterable[Result]], tasks: Iterable[Task]) -> Generator[Result]:
        for task in tasks:
            yield from list(work(task))[:-1]


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.gguf")}


CASES = {"plain": {}, "quantized": {"type": "q4_k_m"}, "split set": {"split_max_tensors": 12, "target": "llama.cpp"}}


@pytest.mark.parametrize("executor", [Far(), Processes()], ids=["far", "processes"])
@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes_by_any_executor(tmp_path, executor, case):
    source = small_v3(tmp_path / "v3")
    for name, by in (("expected", Threads(2)), ("found", executor)):
        (tmp_path / name).mkdir()
        deepgguf.convert(source, tmp_path / name / "x.gguf", executor=by, **CASES[case])
    assert hashes(tmp_path / "found") == hashes(tmp_path / "expected")


def test_text_and_mmproj_by_processes(tmp_path):
    source = small_ocr(tmp_path / "ocr")
    for name, by in (("expected", Threads(2)), ("found", Processes())):
        (tmp_path / name).mkdir()
        deepgguf.convert(source, tmp_path / name / "x.gguf", executor=by, target="llama.cpp")
    assert hashes(tmp_path / "found") == hashes(tmp_path / "expected")


@pytest.mark.parametrize("executor", [Far(), Processes()], ids=["far", "processes"])
def test_the_importance_matrix_goes_where_the_work_goes(checkpoint, tmp_path, executor):
    choices = {"type": "q4_k_m", "target": "llama.cpp"}
    matrix = GOLDENS / "imatrix" / "imatrix-v2-lite.gguf"
    made = {
        name: deepgguf.convert(checkpoint("v2-lite"), tmp_path / f"{name}.gguf", executor=by, imatrix=with_, **choices)
        for name, by, with_ in (
            ("expected", Threads(2), matrix),
            ("found", executor, matrix),
            ("without", Threads(2), None),
        )
    }
    digests = {name: [tensor.digest for tensor in report.files[0].tensors] for name, report in made.items()}
    assert digests["found"] == digests["expected"] != digests["without"]


@pytest.mark.parametrize("executor", [Far(), Processes()], ids=["far", "processes"])
def test_an_error_in_a_worker_reaches_the_caller_with_its_words(tmp_path, executor):
    source = small_v3(tmp_path / "v3")
    shard = source / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1000] + b"\xff" * 1000)  # NaN
    with pytest.raises(deepgguf.NonFiniteError, match=r"^tensor .*NaN"):
        deepgguf.convert(source, tmp_path / "x.gguf", executor=executor)
    with pytest.raises(deepgguf.UsageError):
        deepgguf.convert(source, source / "missing" / "x.gguf", executor=executor)


def test_a_file_of_which_the_executor_left_something_out_gets_no_name(tmp_path):
    source = small_v3(tmp_path / "v3")
    found = r"^.*/x\.gguf: the executor left 1 of 32 tensors unfinished; run again with `resume=True`, or with another executor$"
    with pytest.raises(deepgguf.OutputError, match=found):
        deepgguf.plan(source, tmp_path / "x.gguf").run(executor=Forgetful())
    assert sorted(path.name for path in tmp_path.glob("x.*")) == ["x.gguf.part", "x.gguf.part.journal"]
    assert deepgguf.convert(source, tmp_path / "x.gguf", resume=True).resumed > 0
