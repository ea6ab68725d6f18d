"""A Ray cluster is an executor as any other."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray as package
from executor_claims import ExecutorClaims

from deepgguf.errors import OutputError
from deepgguf.executors import ray
from deepgguf.executors.executor import Executor
from deepgguf.executors.ray import Ray
from ray_cluster import connected


@pytest.fixture(scope="module", autouse=True)
def _connected(ray_nodes):
    with connected(ray_nodes):
        yield


class TestRay(ExecutorClaims):
    def executor(self) -> Executor:
        return Ray()


def die_once(marker: Path) -> Iterator[str]:
    if not marker.exists():
        marker.touch()
        os._exit(1)
    yield "alive"


def test_what_a_worker_was_at_when_it_died_is_done_again_and_counted(tmp_path: Path) -> None:
    executor = Ray()
    assert list(executor.map(die_once, [tmp_path / "been here"])) == ["alive"]
    assert executor.again == {"a worker died": 1}


def test_a_task_that_takes_its_workers_with_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "_TRIES", 2)
    with pytest.raises(OutputError, match=r"^Ray: a task has met this 2 times: a worker died \("):
        list(Ray().map(os._exit, [1]))


def test_what_the_handler_of_a_signal_raises_comes_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    wait, interrupts = package.wait, iter([KeyboardInterrupt()])

    def returned_with_an_exception_set(*refs: object, **how: object) -> object:
        for interrupt in interrupts:
            raise SystemError("returned a result with an exception set") from interrupt
        return wait(*refs, **how)

    monkeypatch.setattr(package, "wait", returned_with_an_exception_set)
    with pytest.raises(KeyboardInterrupt):
        list(Ray().map(die_once, [Path(os.devnull)]))


def wait_a_little(task: int) -> Iterator[int]:
    time.sleep(0.2)
    yield task


def test_what_ends_by_itself_is_not_cancelled_for_ray_may_end_the_process_then(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[object] = []
    monkeypatch.setattr(package, "cancel", cancelled.append)
    results = Ray().map(wait_a_little, range(10))
    next(results)
    results.close()
    assert cancelled == []


def test_threads_that_come_at_once_join_once(monkeypatch: pytest.MonkeyPatch) -> None:
    joined: list[object] = []

    def init(**how: object) -> None:
        time.sleep(0.1)
        joined.append(how)

    monkeypatch.setattr(package, "init", init)
    monkeypatch.setattr(package, "is_initialized", lambda: bool(joined))
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: Ray().jobs, range(2))) == [3, 3]
    assert len(joined) == 1


def test_where_nobody_listens_is_said_at_once() -> None:
    program = "import sys, deepgguf; deepgguf.Ray(sys.argv[1]).everywhere(dict)"
    with socket.create_server(("127.0.0.1", 0)) as free:
        where = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", program, where]
    ended = subprocess.run(command, check=False, timeout=60, capture_output=True, text=True)
    said = f"deepgguf.errors.OutputError: ray:{where}: no cluster answers: Connection refused; look at `ray status`"
    assert ended.stderr.splitlines()[-1].startswith(said)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "what listens there is not Ray"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "what listens there is not Ray"),
        (b"bye", "what listens there is not Ray"),
        (b"", "nothing comes back"),
    ],
    ids=["web", "SSH", "short", "silent"],
)
def test_what_listens_and_is_not_ray_is_an_error_before_ray_tries(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, found: str
) -> None:
    monkeypatch.setattr(package, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "_CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        where = f"127.0.0.1:{server.getsockname()[1]}"
        thread.submit(_answered_once, server, answer)
        with pytest.raises(OutputError, match=rf"^ray:{where}: no cluster answers: {found}; look at `ray status`"):
            Ray(where).everywhere(dict)


def _answered_once(server: socket.socket, answer: bytes) -> None:
    """To the first that connects, and no more than that; then waits until it has gone."""
    with server.accept()[0] as connection:
        if answer:
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 10):
            pass


def test_memory_that_no_node_has_is_an_error_before_the_work() -> None:
    found = (
        r"^Ray: no node has a processor and 1,000,\d{3},\d{3},\d{3} bytes of memory for a task; look at `ray status`"
    )
    with pytest.raises(OutputError, match=found):
        Ray().for_tasks(10**12, 0).everywhere(dict)
