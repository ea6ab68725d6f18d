"""The command line as a hostile file meets it: in its own process, with little memory and little time."""

import os
import resource
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import deepgguf

SOURCE = Path(deepgguf.__file__).parents[1]  # what is tested: this tree, or what is installed
MEMORY = 512 * 2**20
DEEPGGUF = (sys.executable, "-m", "deepgguf")
# The superuser, whom permissions do not stop, without that privilege.
NOT_ALMIGHTY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", *DEEPGGUF)

Argument = str | os.PathLike[str]


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    """The names in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


class Outcome(NamedTuple):
    """The result of a process: its exit status (negative for a signal) and what it wrote."""

    status: int
    stdout: str
    stderr: str


def run_deepgguf(
    *arguments: Argument,
    program: Sequence[Argument] = DEEPGGUF,
    memory: int = MEMORY,
    file_size: int = resource.RLIM_INFINITY,
    timeout: float = 120,
) -> Outcome:
    """Run `deepgguf` with at most `memory` bytes of address space, for at most `timeout` seconds.

    `program` comes before the arguments: `deepgguf` itself, or something that starts it. `file_size` limits the size
    of every file that it writes, in bytes.
    """
    with start_deepgguf(*arguments, program=program, memory=memory, file_size=file_size) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        finally:
            process.kill()
    return Outcome(process.returncode, stdout.decode(), stderr.decode())


def start_deepgguf(
    *arguments: Argument,
    program: Sequence[Argument] = DEEPGGUF,
    memory: int = MEMORY,
    file_size: int = resource.RLIM_INFINITY,
) -> subprocess.Popen[bytes]:
    """Start `deepgguf` under the limits of `run_deepgguf`."""
    return subprocess.Popen(
        [*map(os.fspath, program), *map(os.fspath, arguments)],
        env=os.environ | {"PYTHONPATH": str(SOURCE), "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=_limits(memory, file_size),  # noqa: PLW1509 - the tests have no threads
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def refused(
    *arguments: Argument,
    folder: Path,
    status: int,
    program: Sequence[Argument] = DEEPGGUF,
    memory: int = MEMORY,
    file_size: int = resource.RLIM_INFINITY,
) -> str:
    """The line with which `deepgguf` refuses; everything else that a refusal promises is asserted.

    That is: the exit status, one line on stderr, nothing on stdout, no control characters, no traceback, and `folder`
    unchanged.
    """
    before = listing(folder)
    line = failed(*arguments, status=status, program=program, memory=memory, file_size=file_size)
    assert listing(folder) == before
    return line


def failed(
    *arguments: Argument,
    status: int,
    program: Sequence[Argument] = DEEPGGUF,
    memory: int = MEMORY,
    file_size: int = resource.RLIM_INFINITY,
) -> str:
    """The one clean line with which `deepgguf` ends; the exit status is asserted, files may have changed."""
    outcome = run_deepgguf(*arguments, program=program, memory=memory, file_size=file_size)
    assert outcome.status == status, outcome
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("deepgguf: ")
    assert_one_clean_line(outcome.stderr.removesuffix("\n"))
    return outcome.stderr.removesuffix("\n").removeprefix("deepgguf: ")


def assert_one_clean_line(line: str) -> None:
    """`line` is one short line without characters that move the cursor or reverse the text."""
    assert line
    assert len(line) < 3000
    assert "Traceback" not in line
    assert [c for c in line if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"] == []


def listing(folder: Path) -> dict[Path, tuple[int, int]]:
    """Everything in `folder`, files with their sizes and modification times."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (0, 0) if path.is_dir() else (facts.st_size, facts.st_mtime_ns) for path, facts in found.items()}


def _limits(memory: int, file_size: int) -> Callable[[], None]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    return limit
