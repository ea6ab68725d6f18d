"""The SHA-256 of a file that is being written is that of the file, whatever the order of its pieces."""

import os
import threading
from hashlib import sha256

import pytest

import deepgguf
from deepgguf.errors import OutputError
from deepgguf.run import following_hash
from deepgguf.run.following_hash import FollowingHash


@pytest.fixture
def small_steps(monkeypatch):
    monkeypatch.setattr(following_hash, "_STEP", 1000)
    monkeypatch.setattr(following_hash, "_RUN", 300)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("type", ["auto", "q4_k_m"])
def test_the_hash_of_a_run_is_that_of_its_file(checkpoint, tmp_path, small_steps, jobs, type):
    report = deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "v3.gguf", type=type, jobs=jobs, sha256=True)
    assert report.files[0].sha256 == sha256((tmp_path / "v3.gguf").read_bytes()).hexdigest()


def test_the_hash_of_a_run_that_was_interrupted_is_that_of_its_file(checkpoint, tmp_path, small_steps):
    done = []

    def interrupt(nbytes: int) -> None:
        done.append(nbytes)
        if sum(done) > 2_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "v3.gguf", jobs=1, sha256=True, progress=interrupt)
    report = deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "v3.gguf", sha256=True, resume=True)
    assert report.resumed > 0
    assert report.files[0].sha256 == sha256((tmp_path / "v3.gguf").read_bytes()).hexdigest()


def test_it_is_read_back_while_it_grows_and_never_beyond_what_is_whole(tmp_path, small_steps):
    path, data = tmp_path / "file", os.urandom(10_000)
    path.write_bytes(bytes(10_000))
    with path.open("r+b") as file:
        following = FollowingHash(file.fileno(), b"head", 10_000)
        file.write(data[:6_000])
        file.flush()
        following.follow(6_000)
        following.follow(6_500)  # too little to be worth it, or the thread is still at work
        file.write(data[6_000:])
        file.flush()
        assert following.hexdigest() == sha256(b"head" + data[4:]).hexdigest()
        following.close()
        following.close()


def test_a_run_that_fails_leaves_no_thread(checkpoint, tmp_path, small_steps):
    def fail(nbytes: int) -> None:
        raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "v3.gguf", sha256=True, progress=fail)
    assert threading.active_count() == before


def test_a_system_that_starts_no_thread_hashes_at_the_end(checkpoint, tmp_path, small_steps, monkeypatch):
    class NoPool:
        def __init__(self, *arguments: object, **named: object) -> None:
            """Starts nothing."""

        def submit(self, *arguments: object) -> None:
            raise RuntimeError("can't start new thread")

        def shutdown(self, wait: bool) -> None:
            """Nothing to end."""

    monkeypatch.setattr(following_hash, "ThreadPoolExecutor", NoPool)
    report = deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "v3.gguf", sha256=True)
    assert report.files[0].sha256 == sha256((tmp_path / "v3.gguf").read_bytes()).hexdigest()


def test_a_file_that_cannot_be_read_back_is_an_error_that_can_be_resumed(
    checkpoint, tmp_path, small_steps, monkeypatch
):
    def fail(hashing: FollowingHash, end: int) -> None:
        raise OSError(5, "Input/output error")

    plan = deepgguf.plan(checkpoint("v2-lite"), tmp_path / "v2.gguf")
    with monkeypatch.context() as broken:
        broken.setattr(FollowingHash, "_read_to", fail)
        with pytest.raises(OutputError, match=r"v2\.gguf\.part: reading it to hash it failed: Input/output error; "):
            plan.run(sha256=True)
    assert plan.run(sha256=True, resume=True).files[0].sha256
