"""Models on their way into Ollama, killed before every step and done again: always the whole model, or none of it.

`python killing.py [--folder /dev/shm]` does it for every case and prints the number of steps.
"""

import argparse
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ollama_server import Models
from stores import check_whole, files_of

import deepgguf
from deepgguf.errors import UsageError
from deepgguf.executors.threads import Threads
from deepgguf.ollama.address import server_address
from deepgguf.ollama.client import Client
from deepgguf.ollama.convert import Conversion, convert_into
from deepgguf.ollama.importing import import_model, read_given
from deepgguf.ollama.name import parse_name
from deepgguf.ollama.needs import Said, modelfile_for
from deepgguf.ollama.request import Request
from deepgguf.ollama.store import Store
from deepgguf.ollama.ways import ApiWay, StoreWay
from deepgguf.run.disk import Disk
from deepgguf.run.settings import Settings

sys.path.append(str(Path(__file__).parents[1] / "run"))
from small_checkpoints import small_ocr, small_v3

NAME = "my-model:tag"


class Counter:
    """Kills the process before step number `at`, counted from 1; 0 is never."""

    def __init__(self, at: int) -> None:
        self.at, self.steps = at, 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class CountedDisk(Disk):
    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        self.counter.step()
        return function(*arguments)


class CountedClient(Client):
    def __init__(self, address: str, counter: Counter) -> None:
        super().__init__(server_address(address))
        self.counter = counter

    def call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        self.counter.step()
        return function(*arguments)


class Case(NamedTuple):
    """What is brought into Ollama: a checkpoint, or files; `out` is where files are converted for the server."""

    source: Path | Sequence[Path]
    choices: dict[str, Any]
    way: str
    models: Path
    out: Path


def bring(case: Case, counter: Counter, address: str, **settings: Any) -> None:
    """The whole work, by the case's way."""
    disk = CountedDisk(counter)
    way = (
        StoreWay(Store(case.models, disk), None) if case.way == "store" else ApiWay(CountedClient(address, counter), "")
    )
    if not isinstance(case.source, Path):
        model = read_given(case.source)
        request = Request(parse_name(NAME), modelfile_for(model.keys, Said()))
        import_model(model, request, way, lambda nbytes: None, lambda line: None)
        return
    plan = deepgguf.plan(case.source, case.out / "model.gguf", **case.choices)
    request = Request(parse_name(NAME), plan.modelfile())
    conversion = Conversion(plan, request, Settings(folder=case.out, **settings), Threads(1), disk)
    convert_into(conversion, way, lambda nbytes: None, lambda line: None)


def killed(case: Case, at: int, address: str) -> bool:
    """The work in its own process; whether it was killed before it had come to its end."""
    child = os.fork()
    if not child:
        status = 1
        try:
            bring(case, Counter(at), address)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def every_step(case: Case, address: str) -> int:
    """Kills the work at its first step, its second, and so on; each time what is there is whole, and resumes to the
    same files. How many steps there were.
    """
    bring(case, Counter(0), address)
    expected, at = files_of(case.models), 0
    while True:
        at += 1
        clear(case)
        there = killed(case, at, address)
        if case.way == "api":
            wait_for(address)
        check_names(case)
        settings = {"left_part": "resume"} if isinstance(case.source, Path) else {}
        try:
            bring(case, Counter(0), address, **settings)
        except UsageError as error:
            assert "exists in Ollama" in str(error)
        if case.way == "store":
            check_whole(case.models)
        assert model_of(files_of(case.models)) == model_of(expected)
        if not there:
            return at - 1


def wait_for(address: str) -> None:
    """Until the server has done what it was asked before its client was killed."""
    with closing(http.client.HTTPConnection(address)) as connection:
        connection.request("HEAD", "/idle")
        assert connection.getresponse().status == 200


def check_names(case: Case) -> None:
    """What has a blob's name is that blob; what has a manifest has all of its blobs."""
    staged = case.models / "deepgguf"
    aside = case.models.parent / "aside"
    if staged.exists():
        staged.rename(aside)
    check_whole(case.models)
    if aside.exists():
        aside.rename(staged)


def model_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """The manifest and the blobs; a server keeps uploads that no manifest names."""
    manifests = {path: data for path, data in files.items() if path.startswith("manifests/")}
    named = b"".join(manifests.values()).replace(b"sha256:", b"sha256-")
    return manifests | {path: data for path, data in files.items() if path.removeprefix("blobs/").encode() in named}


def clear(case: Case) -> None:
    for folder in (case.models, case.out):
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    Models(case.models)


CASES = ("one file", "a model and its mmproj", "a file that is there", "a split set")


def make_case(what: str, way: str, folder: Path) -> Case:
    for name in ("models", "out"):
        (folder / name).mkdir()
    Models(folder / "models")
    places = (way, folder / "models", folder / "out")
    if what == "one file":
        return Case(small_v3(folder / "v3"), {"type": "q8_0"}, *places)
    if what == "a model and its mmproj":
        return Case(small_ocr(folder / "ocr"), {"target": "llama.cpp"}, *places)
    limit = 12 if what == "a split set" else None
    report = deepgguf.convert(small_v3(folder / "v3"), folder / "v3.gguf", split_max_tensors=limit)
    return Case([file.path for file in report.files], {}, *places)


@contextmanager
def server_of(models: Path) -> Iterator[str]:
    """A server in a process of its own, since this one forks; its address."""
    command = [sys.executable, str(Path(__file__).with_name("ollama_server.py")), str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield f"127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None)
    place = parser.parse_args().folder
    for what in CASES:
        for way in ("store", "api"):
            with tempfile.TemporaryDirectory(dir=place) as name:
                case = make_case(what, way, Path(name))
                with server_of(case.models) as address:
                    steps = every_step(case, address)
                print(
                    f"{what}, {way}: {steps} steps, killed before each once, resumed each time: the same model",
                    flush=True,
                )
