"""Fuzzing of the command line as a whole, over arguments, environment and files: `python fuzz_commands.py --tries 100000`.

Each try is a command in a folder of its own, which holds a checkpoint, what was made of it, and what an interrupted run
left; some of these files are damaged. It runs in a process of its own: a fork that calls the command line's `main` as
the console script does, or (one in a hundred) a new Python. A failure is: exit status 70 or one that is not documented,
a traceback, an exception that is not a DeepggufError, a crash, a hang, memory beyond the limit, control characters in
the output, or a sound file that changed.

Prints how many tries ended with which status, and each failure once, with a command that repeats it. A try depends on
--seed and its number alone: `--only NUMBER` repeats it, keeps its folder, and shows what it printed. Ends with 1 if
there was a failure.
"""

import argparse
import contextlib
import faulthandler
import gc
import io
import json
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
import tempfile
import threading
import time
import traceback
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "run")]
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads would count as memory, and forks have none of them

from command_words import random_command, random_environment  # noqa: E402
from mutations import damage_a_file  # noqa: E402
from sound_files import KINDS, LEFT, make_sound_files  # noqa: E402

import deepgguf  # noqa: E402
from deepgguf.cli import main as command_line  # noqa: E402
from deepgguf.cli import program  # noqa: E402
from deepgguf.cli.endings import Stopped  # noqa: E402
from deepgguf.errors import DeepggufError  # noqa: E402

SOURCE = Path(deepgguf.__file__).parents[1]
MEMORY = 1 << 30  # bytes of address space, of which Python with NumPy takes 200 MB
LARGEST_FILE = 64 << 20
SECONDS = 20.0  # in which a command ends, however many others run
BATCH = 40  # tries in one process
OWN_PYTHON = 0.01
STREAMS = ["files"] * 14 + ["terminal", "terminal", "closed", "full", "broken pipe", "stderr closed"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DOCUMENTED = {0, 1, 2, 3, 4}
BROKEN_PIPE = 128 + signal.SIGPIPE
_BUG = re.compile(r"a bug: (.*)")
_PLACE = re.compile(r'File "[^"]*/(deepgguf/[^"]*)", line (\d+)')


Row = dict[str, Any]


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
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "left.fifo")
    words = random_command(chance, "models--a--b" if kind == "hub" else "src", KINDS[kind].choices)
    environment = random_environment(chance)
    streams, own_python = chance.choice(STREAMS), chance.random() < OWN_PYTHON
    for _ in range(chance.choice([0, 0, 1, 1, 1, 2, 3])):
        damage_a_file(folder if chance.random() < 0.5 or kind == "hub" else folder / "src", chance)
    if chance.random() < 0.03:
        forbidden = chance.choice([folder, *sorted(path for path in folder.iterdir() if path.is_dir())])
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
            shown, status = _wait(_spawn(attempt, streams), ours, streams)
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


def _spawn(attempt: Try, streams: Sequence[int]) -> int:
    """A new Python, which reads the whole environment itself."""
    return subprocess.Popen(
        [sys.executable, "-m", "deepgguf", *map(os.fsencode, attempt.words)],
        cwd=attempt.folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **attempt.environment},
        stdin=subprocess.DEVNULL,
        stdout=streams[0],
        stderr=streams[1],
        preexec_fn=lambda: _close_some(attempt),  # noqa: PLW1509 - nothing here has threads
    ).pid


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
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, fd in enumerate(streams, 1):
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
        places = _PLACE.findall(text)
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
    usage = outcome.status == 2 and any(line.startswith("usage: ") for line in lines)
    strange = [line for line in lines if not line.startswith("deepgguf: ")]
    if strange and not usage:
        return f"on standard error: {_general(strange[0])}"
    if {"FORCE_COLOR", "TTY_COMPATIBLE"} & attempt.environment.keys():
        return None
    control = {c for c in outcome.stdout + outcome.stderr if unicodedata.category(c) == "Cc" and c != "\n"}
    return f"control characters in the output: {sorted(control)}" if control and not usage else None


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
    return (
        "$'"
        + "".join(
            f"\\x{byte:02x}" if not 32 < byte < 127 or byte in b"'\\" else chr(byte) for byte in os.fsencode(word)
        )
        + "'"
    )


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


def run_some(numbers: Sequence[int], seed: int, sound: Mapping[str, Path], folder: Path) -> Iterator[Row]:
    """Carries out the tries with these numbers, some dozens in one process, until one of them ends it or hangs."""
    left = list(numbers)
    while left:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _run_here(left[:BATCH], seed, sound, folder, writing)
        os.close(writing)
        done = 0
        for row in _rows(reading, child):
            yield row
            done += 1
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if done < len(left[:BATCH]):
            yield _lost(left[done], status, seed, sound, folder)
            done += 1
        left = left[done:]


def _run_here(numbers: Sequence[int], seed: int, sound: Mapping[str, Path], folder: Path, writing: int) -> NoReturn:
    """Carries out the tries in this process, and ends it; a row for each goes to the descriptor `writing`."""
    status = 99
    try:
        hung = _hung(folder).open("w")
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in numbers:
            hung.truncate(0)
            faulthandler.dump_traceback_later(SECONDS * 0.9, file=hung)
            attempt = prepare(seed, number, sound, folder / "tries" / str(number))
            os.write(writing, json.dumps(_row(attempt, carry_out(attempt))).encode() + b"\n")
            remove(attempt.folder)
            gc.collect()  # closes what errors have kept open
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _row(attempt: Try, outcome: Outcome) -> Row:
    wrong = failure(attempt, outcome)
    row = {
        "number": attempt.number,
        "status": outcome.status,
        "seconds": outcome.seconds,
        "command": attempt.words[0][:9],
    }
    return row | ({"wrong": wrong, "again": repeated_by(attempt)} if wrong else {})


def _rows(reading: int, child: int) -> Iterator[Row]:
    """The rows as they come; the child is killed if none comes for too long."""
    buffered = b""
    while select.select([reading], [], [], SECONDS * 1.1)[0]:
        got = os.read(reading, 65536)
        if not got:
            return
        *lines, buffered = (buffered + got).split(b"\n")
        yield from map(json.loads, lines)
    os.kill(child, signal.SIGKILL)


def _lost(number: int, status: int, seed: int, sound: Mapping[str, Path], folder: Path) -> Row:
    """The row of a try that ended its process, or did not end."""
    place = folder / "tries" / str(number)
    remove(place)
    attempt = prepare(seed, number, sound, place)
    found = _PLACE.findall(_written(_hung(folder)))
    outcome = Outcome(status, "", "", ":".join(found[0]) if found else "", SECONDS)
    remove(place)
    return _row(attempt, outcome)


def _hung(folder: Path) -> Path:
    """Where the process of the try that is under way says where it hangs."""
    return folder / f"hung-{os.getpgid(0)}"


def run_all(tries: range, jobs: int, seed: int, sound: Mapping[str, Path], folder: Path) -> list[Row]:
    """All rows, the tries shared among `jobs` processes."""
    children = []
    for job in range(jobs):
        child = os.fork()
        if not child:
            status = 1
            os.setpgid(0, 0)
            try:
                with (folder / f"rows-{job}").open("w") as file:
                    for row in run_some(tries[job::jobs], seed, sound, folder):
                        file.write(json.dumps(row) + "\n")
                        file.flush()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    ended = [os.waitpid(child, 0)[1] for child in children]
    assert not any(ended), "the fuzzer itself failed"
    return [json.loads(line) for job in range(jobs) for line in (folder / f"rows-{job}").read_text().splitlines()]


def report(rows: Sequence[Row], seconds: float, options: argparse.Namespace) -> None:
    """Prints the summary."""
    print(f"{len(rows):,} tries in {seconds:.0f} s, {len(rows) / seconds:.0f}/s, seed {options.seed}")
    for status, count in sorted(Counter(row["status"] for row in rows).items()):
        print(f"  exit status {status:4}: {count:7,}")
    slowest = max(rows, key=lambda row: row["seconds"])
    print(f"  slowest: number {slowest['number']}, {slowest['command']}, {slowest['seconds']:.1f} s")
    failures: dict[str, list[Row]] = {}
    for row in rows:
        if "wrong" in row:
            failures.setdefault(row["wrong"], []).append(row)
    print(f"{len(failures)} kinds of failure in {sum(map(len, failures.values()))} tries")
    script = Path(__file__).name
    for wrong, found in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"\n{len(found):5} × {wrong}\n        {found[0]['again']}")
        print(f"        python {script} --seed {options.seed} --only {found[0]['number']}")


def show(number: int, seed: int, sound: Mapping[str, Path], folder: Path) -> bool:
    """Repeats one try and shows all of it; whether it failed."""
    place = folder / "tries" / str(number)
    remove(place)
    attempt = prepare(seed, number, sound, place)
    print(f"cd {place}\n{repeated_by(attempt)}")
    outcome = carry_out(attempt)
    wrong = failure(attempt, outcome)
    print(f"exit status {outcome.status}, {outcome.seconds:.2f} s, {wrong or 'as it should be'}; {outcome.strange}")
    print(f"--- standard output\n{outcome.stdout[:5000]}--- standard error\n{outcome.stderr[:5000]}")
    return wrong is not None


def warm_up(checkpoint: Path) -> None:
    """Imports, once for all forks, what commands import when they are used, and measures what `plan` would measure."""
    import rich.console
    import rich.progress  # noqa: F401
    import yaml  # noqa: F401

    from deepgguf import api
    from deepgguf.run.speed import estimated_seconds
    from deepgguf.terminal import inspect_tables, json_views, plan_page, summary, verify_summary  # noqa: F401
    from deepgguf.verification import run  # noqa: F401

    for totals in api.plan_every_type(checkpoint).values():
        estimated_seconds(totals.weights, 1)
    gc.freeze()
    gc.disable()


def digest(folder: Path) -> str:
    """The SHA-256 of all names, kinds and contents in `folder`."""
    whole = sha256()
    for path in sorted(folder.rglob("*")):
        whole.update(f"{path}{path.lstat().st_mode}".encode())
        if path.is_file():
            whole.update(path.read_bytes())
    return whole.hexdigest()


def main() -> int:
    """Runs what the command line asks for; 1 if there was a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work, on a fast disk; only --only leaves anything")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, help="repeat this try, show it, and keep its folder")
    options = parser.parse_args()
    os.nice(10)
    os.umask(0o022)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=options.folder)).absolute()
    sound = make_sound_files(folder / "sound")
    warm_up(sound["v3"] / "src")
    if options.only is not None:
        return int(show(options.only, options.seed, sound, folder))
    before, began = digest(folder / "sound"), time.monotonic()
    rows = run_all(range(options.first, options.first + options.tries), options.jobs, options.seed, sound, folder)
    report(rows, time.monotonic() - began, options)
    unchanged = digest(folder / "sound") == before
    if not unchanged:
        print("\na try wrote into the files that it was given to read")
    shutil.rmtree(folder)
    return int(not unchanged or any("wrong" in row for row in rows))


def without_privileges() -> None:
    """A superuser may read what nobody may read: starts again without that capability, where setpriv is there."""
    if os.geteuid() == 0 and shutil.which("setpriv") and "FUZZ_PLAIN" not in os.environ:
        caps = "-dac_override,-dac_read_search"
        os.environ["FUZZ_PLAIN"] = "1"
        os.execvp("setpriv", ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", sys.executable, *sys.argv])


if __name__ == "__main__":
    without_privileges()
    sys.exit(main())
