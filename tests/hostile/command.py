"""The command line as a stranger's file meets it: a process of its own, with little memory and little time."""

import os
import resource
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[2] / "src"


class Outcome(NamedTuple):
    status: int
    stdout: str
    stderr: str


def run_deepgguf(*arguments: str | os.PathLike[str], memory: int = 512 * 2**20, timeout: float = 60) -> Outcome:
    """Run `deepgguf` with at most `memory` bytes of address space, for at most `timeout` seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "deepgguf", *map(os.fspath, arguments)],
        env=os.environ | {"PYTHONPATH": str(SOURCE), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=_limit(memory),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def refused(*arguments: str | os.PathLike[str], folder: Path, status: int, memory: int = 512 * 2**20) -> str:
    """The line with which `deepgguf` refuses; all else that a refusal promises is asserted.

    That is: the exit status, one line on stderr, nothing on stdout, no control characters, no traceback, and `folder`
    as it was.
    """
    before = _listing(folder)
    outcome = run_deepgguf(*arguments, memory=memory)
    assert outcome.status == status, outcome
    assert outcome.stdout == ""
    assert_one_clean_line(outcome.stderr.removesuffix("\n"))
    assert _listing(folder) == before
    return outcome.stderr.removesuffix("\n")


def assert_one_clean_line(line: str) -> None:
    """`line` is one line, not long, without characters that move the cursor or turn the text around."""
    assert line
    assert len(line) < 3000
    assert "Traceback" not in line
    assert [c for c in line if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"] == []


def _limit(memory: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _listing(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")}
