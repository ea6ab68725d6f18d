"""One try of the fuzzer: a command among sound and damaged files, how it ended, and what is wrong with that."""

import contextlib
import io
import os
import random
import re
import resource
import select
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from command_words import random_command, random_environment
from mutations import damage_a_file
from sound_files import KINDS, LEFT

import deepgguf
from deepgguf.cli import main as command_line
from deepgguf.cli import program
from deepgguf.cli.endings import Stopped
from deepgguf.errors import DeepggufError

SOURCE = Path(deepgguf.__file__).parents[1]
LARGEST_FILE = 64 << 20
SECONDS = 20.0  # in which a command ends, however many others run
OWN_PYTHON = 0.005
STREAMS = ["files"] * 15 + ["terminal", "closed", "full", "broken pipe", "stderr closed"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DOCUMENTED = {0, 1, 2, 3, 4}
BROKEN_PIPE = 128 + signal.SIGPIPE
PLACE = re.compile(r'File "[^"]*/(deepgguf/[^"]*)", line (\d+)')  # in a traceback
_BUG = re.compile(r"a bug: (.*)")


class Try(NamedTuple):
    """A command: its words, what it has in its environment besides the usual, where it writes, in which folder."""

    number: int
    words: list[str]
    environment: dict[str, str]
    streams: str
    own_python: bool
    folder: Path


class Outcome(NamedTuple):
    """How a try ended: its exit status (negative for a signal), what it wrote, and what ended it if that was no error
    of deepgguf's own.
    """

    status: int
    stdout: str
    stderr: str
    strange: str
    seconds: float


def prepare(seed: int, number: int, sound: Mapping[str, Path], folder: Path) -> Try:
    """The try number `number` in the new folder `folder`."""
    chance = random.Random(f"{seed}/{number}")
    kind = chance.choice(list(KINDS))
    _copy(sound[kind], folder)
    left = sorted(path for path in sound[kind].iterdir() if path.name.startswith(LEFT))
    for path in sorted(chance.choice(left).iterdir()):
        shutil.copy2(path, folder / path.name)  # runs write into these
    for name in ("plain.gguf", "plain.gguf.json"):
        shutil.copy2(sound[kind] / name, folder / name.replace("plain", "own"))  # patched in place
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "left.fifo")
    words = random_command(chance, "models--a--b" if kind == "hub" else "src", KINDS[kind].choices)
    environment = random_environment(chance)
    streams, own_python = chance.choice(STREAMS), chance.random() < OWN_PYTHON
    for _ in range(chance.choice([0, 0, 1, 1, 1, 2, 3])):
        damage_a_file(folder if chance.random() < 0.5 or kind == "hub" else folder / "src", chance)
    if chance.random() < 0.03:
        own = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
        forbidden = chance.choice([folder, *sorted(own)])
        forbidden.chmod(chance.choice([0o111, 0o555] if forbidden == folder else [0o000, 0o111, 0o444, 0o555]))
    return Try(number, words, environment, streams, own_python, folder)


def _copy(source: Path, target: Path) -> None:
    """Hard links to the files of `source`, which nothing may write into."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_symlink():
            (target / path.name).symlink_to(path.readlink())
        elif path.is_file():
            os.link(path, target / path.name)
        elif not path.name.startswith(LEFT):
            _copy(path, target / path.name)


def carry_out(attempt: Try) -> Outcome:
    """Runs the try: here, or in a process of its own if it wants a terminal or a new Python."""
    began, notes = time.monotonic(), _beside(attempt, ".notes")
    with contextlib.ExitStack() as stack:
        stack.callback(_limit_files, resource.RLIM_INFINITY)
        _limit_files(LARGEST_FILE)
        streams, ours = _streams(attempt, stack)
        if attempt.own_python:
            python = _spawn(attempt, streams)  # kept: a Popen that is thrown away reaps its process
            shown, status = _wait(python.pid, ours, streams)
        elif attempt.streams == "terminal":
            shown, status = _wait(_fork(attempt, streams, notes), ours, streams)
        else:
            shown, status = "", _call_here(attempt, streams, notes)
    stdout, stderr, strange = (_written(_beside(attempt, end)) for end in (".out", ".err", ".notes"))
    return Outcome(status, stdout + shown, stderr, strange, time.monotonic() - began)


def _beside(attempt: Try, ending: str) -> Path:
    return attempt.folder.with_name(attempt.folder.name + ending)


def _streams(attempt: Try, stack: contextlib.ExitStack) -> tuple[list[int], int]:
    """Descriptors for stdout and stderr, and the end of the terminal that is ours, or -1."""
    if attempt.streams == "terminal":
        ours, theirs = os.openpty()
        stack.callback(os.close, ours)
        return [theirs, os.dup(theirs)], ours
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
    err = os.open(_beside(attempt, ".err"), flags)
    if attempt.streams == "broken pipe":
        reading, out = os.pipe()
        os.close(reading)
    elif attempt.streams == "full":
        out = os.open("/dev/full", os.O_WRONLY)
    else:
        out = os.open(_beside(attempt, ".out"), flags)
    return [out, err], -1


def _close_some(attempt: Try) -> None:
    """Leaves closed what the try wants closed."""
    closed = {"closed": 1, "stderr closed": 2}.get(attempt.streams)
    if closed:
        os.close(closed)


def _limit_files(nbytes: int) -> None:
    """So large may files become; a hole in a file that is there may be larger."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, resource.RLIM_INFINITY))


def _spawn(attempt: Try, streams: Sequence[int]) -> subprocess.Popen[bytes]:
    """A new Python, which reads the whole environment itself."""
    return subprocess.Popen(
        [sys.executable, "-m", "deepgguf", *map(os.fsencode, attempt.words)],
        cwd=attempt.folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **attempt.environment},
        stdin=subprocess.DEVNULL,
        stdout=streams[0],
        stderr=streams[1],
        preexec_fn=lambda: _close_some(attempt),  # noqa: PLW1509 - nothing here has threads
    )


def _fork(attempt: Try, streams: Sequence[int], notes: Path) -> int:
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        status = _call_here(attempt, streams, notes)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _call_here(attempt: Try, streams: Sequence[int], notes: Path) -> int:
    """The exit status of the command line in this process, made what that of the console script would be, and back."""
    kept = [os.dup(fd) for fd in range(3)], dict(os.environ), Path.cwd(), (sys.stdin, sys.stdout, sys.stderr)
    os.chdir(attempt.folder)
    for number, fd in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
        os.dup2(fd, number)
        os.close(fd)
    _close_some(attempt)
    os.environ.update(attempt.environment)
    encoding, _, errors = attempt.environment.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdout = _stream(1, encoding, errors or "strict")
    sys.stderr = _stream(2, encoding, "backslashreplace")
    sys.argv = ["deepgguf", *(os.fsdecode(os.fsencode(word)) for word in attempt.words)]
    strange: list[BaseException] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    original, program.ending = program.ending, _watched(program.ending, strange)
    try:
        status = _ended(_called(command_line, strange))
        if strange:
            notes.write_text(_described(strange[-1]), "utf-8", "replace")
        return status
    finally:
        program.ending = original
        sys.stdin, sys.stdout, sys.stderr = kept[3]
        for number, fd in enumerate(kept[0]):
            os.dup2(fd, number)
            os.close(fd)
        os.environ.clear()
        os.environ.update(kept[1])
        os.chdir(kept[2])
        for signal_number, handler in handlers.items():
            signal.signal(signal_number, handler)


def _ended(status: int) -> int:
    """The status, after what Python does at its end: it waits for threads, and writes what is left."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except (OSError, ValueError):
            return 120
    return status


def _stream(fd: int, encoding: str, errors: str) -> Any:
    """A standard stream as Python opens it: None if its descriptor is closed."""
    try:
        raw = io.FileIO(fd, "w", closefd=False)
    except OSError:
        return None
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=raw.isatty())


def _watched(ending: Callable[..., Any], strange: list[BaseException]) -> Callable[..., Any]:
    """`ending`, which also notes what is neither an error of deepgguf's own nor a signal or a reader that has gone."""

    def watching(error: BaseException) -> Any:
        if not isinstance(error, DeepggufError | Stopped | BrokenPipeError):
            strange.append(error)
        return ending(error)

    return watching


def _called(main: Callable[[], int], strange: list[BaseException]) -> int:
    """What `sys.exit(main())` makes of the result."""
    try:
        return main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException as error:
        strange.append(error)
        return 1


def _described(error: BaseException) -> str:
    """The error and its innermost place within deepgguf."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "/deepgguf/" in frame.filename] or frames
    return f"{type(error).__name__} in {Path(inside[-1].filename).name}:{inside[-1].lineno}: {str(error)[:200]}"


def _wait(child: int, ours: int, streams: Sequence[int]) -> tuple[str, int]:
    """What the child writes to our end of a terminal, and its exit status; it is killed when its time is over."""
    for fd in streams:
        os.close(fd)
    shown, deadline = b"", time.monotonic() + SECONDS
    ended = os.pidfd_open(child)
    wanted = [ended] if ours < 0 else [ended, ours]
    while ready := select.select(wanted, [], [], max(0, deadline - time.monotonic()))[0]:
        if ours not in ready:
            break
        try:
            shown += os.read(ours, 65536)
        except OSError:  # nobody has the other end any more
            wanted = [ended]
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.close(ended)
    return shown.decode("utf-8", "replace"), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _written(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""


def failure(attempt: Try, outcome: Outcome) -> str | None:
    """What is wrong with the outcome, in words that are the same whenever the same goes wrong; None if nothing is."""
    text = outcome.stderr + (outcome.stdout if attempt.streams == "terminal" else "")
    if outcome.status == -signal.SIGKILL:
        return f"no end within {SECONDS:g} s of {attempt.words[0]} {outcome.strange}"
    if outcome.status < 0:
        return f"killed by {signal.Signals(-outcome.status).name}"
    if outcome.strange:
        return _general(outcome.strange)
    if bug := _BUG.search(text):
        return _general(bug[1])
    if "Traceback (most recent" in text:
        places = PLACE.findall(text)
        return f"a traceback, {':'.join(places[-1]) if places else ''}: {_general(text.strip().splitlines()[-1])}"
    broken = outcome.status == BROKEN_PIPE and attempt.streams in ("broken pipe", "terminal")
    if outcome.status not in DOCUMENTED and not broken:
        return f"exit status {outcome.status} with standard output {attempt.streams}"
    return _unclean(attempt, outcome)


def _unclean(attempt: Try, outcome: Outcome) -> str | None:
    """What should not be in the output."""
    if attempt.streams == "terminal":
        return None
    lines = outcome.stderr.splitlines()
    strange = [line for line in lines if not line.startswith("deepgguf: ")]
    if strange:
        return f"on standard error: {_general(strange[0])}"
    if {"FORCE_COLOR", "TTY_COMPATIBLE"} & attempt.environment.keys():
        return None
    control = {c for c in outcome.stdout + outcome.stderr if unicodedata.category(c) == "Cc" and c != "\n"}
    return f"control characters in the output: {sorted(control)}" if control else None


def _general(text: str) -> str:
    """The text without what differs from one try to the next."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|0x[0-9a-f]+|(?<![:\w])\d+", "…", text)[:160]


def repeated_by(attempt: Try) -> str:
    """A command line for a shell that does what the try did, in its folder."""
    variables = [f"{name}={_quoted(value)}" for name, value in attempt.environment.items()]
    streams = {"closed": ">&-", "full": ">/dev/full", "broken pipe": "| true", "stderr closed": "2>&-"}
    words = ["env", *variables, "deepgguf", *map(_quoted, attempt.words), streams.get(attempt.streams, "")]
    return " ".join(words if variables else words[1:]).strip()


def _quoted(word: str) -> str:
    """For bash; long words are shortened, for `--only` has them whole."""
    if len(word) > 300:
        word = f"{word[:20]}…({len(word)} characters)"
    if word.isprintable() and word.isascii():
        return shlex.quote(word)
    safe = (chr(byte) if 32 < byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(word))
    return f"$'{''.join(safe)}'"


def remove(folder: Path) -> None:
    """Removes a try's folder, whatever may be read in it."""
    for ending in (".out", ".err", ".notes"):
        folder.with_name(folder.name + ending).unlink(missing_ok=True)
    if not folder.exists():
        return
    with contextlib.suppress(OSError):
        shutil.rmtree(folder)
        return
    folder.chmod(0o700)
    for path, folders, _ in os.walk(folder):
        for name in folders:
            Path(path, name).chmod(0o700)
    shutil.rmtree(folder)
