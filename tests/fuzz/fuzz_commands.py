"""Fuzzing of the command line as a whole, over arguments, environment and files: `python fuzz_commands.py --tries 100000`.

Each try is a command in a folder of its own, which holds a checkpoint, what was made of it, and what an interrupted run
left; some of these files are damaged. The command line's `main` is called as the console script does, in a forked
process that a crash or a hang costs nothing but time; one try in twenty has a terminal, one in two hundred a new
Python, which reads the environment itself. A failure is: exit status 70 or one that is not documented, a traceback, an
exception that is not a DeepggufError, a crash, a hang, more memory than is allowed, control characters in the output,
more than one's own words on standard error, a sound file that changed.

Prints how many tries ended with which status, and each failure once, with a command that repeats it. A try depends on
--seed and its number alone: `--only NUMBER` repeats it, keeps its folder, and shows what it printed. Ends with 1 if
there was a failure.
"""

import argparse
import faulthandler
import gc
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "run")]
os.environ["HF_HUB_OFFLINE"] = "1"  # a word such as a/b is a name of the Hub
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads would count as memory, and forks have none of them

from one_try import PLACE, SECONDS, Outcome, Try, carry_out, failure, prepare, remove, repeated_by  # noqa: E402
from sound_files import make_sound_files  # noqa: E402

MEMORY = 1 << 30  # bytes of address space, of which Python with NumPy takes 200 MB
BATCH = 40  # tries in one process

Row = dict[str, Any]


def run_some(numbers: Sequence[int], seed: int, sound: Mapping[str, Path], folder: Path) -> Iterator[Row]:
    """Carries out the tries with these numbers, some dozens in one process, until one of them ends it or hangs."""
    left = list(numbers)
    while left:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            _run_here(left[:BATCH], seed, sound, folder, writing)
        os.close(writing)
        done, began = 0, time.monotonic()
        for row in _rows(reading, child):
            yield row
            done, began = done + 1, time.monotonic()
        os.close(reading)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if done < len(left[:BATCH]):
            too_long = time.monotonic() - began > SECONDS * 0.9  # looking for the place may have crashed
            yield _lost(left[done], -signal.SIGKILL if too_long else status, seed, sound, folder)
            done += 1
        left = left[done:]


def _run_here(numbers: Sequence[int], seed: int, sound: Mapping[str, Path], folder: Path, writing: int) -> NoReturn:
    """Carries out the tries in this process, and ends it; a row for each goes to the descriptor `writing`."""
    status = 99
    try:
        hung = (folder / "hung").open("w")
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
    found = PLACE.findall((folder / "hung").read_text(errors="replace"))
    where = ":".join(found[0]) if found else ""
    outcome = Outcome(status, "", "", where if status < 0 else f"the process ended with {status}", SECONDS)
    remove(place)
    return _row(attempt, outcome)


def run_all(tries: range, jobs: int, seed: int, sound: Mapping[str, Path], folder: Path) -> list[Row]:
    """All rows, the tries shared among `jobs` processes."""
    children = []
    for job in range(jobs):
        child = os.fork()
        if not child:
            status = 1
            try:
                place = folder / f"job-{job}"
                place.mkdir()
                with (place / "rows").open("w") as file:
                    for row in run_some(tries[job::jobs], seed, sound, place):
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
    return [
        json.loads(line) for job in range(jobs) for line in (folder / f"job-{job}" / "rows").read_text().splitlines()
    ]


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
    """Repeats one try and shows all of it, or where it hangs; whether it failed."""
    place = folder / "tries" / str(number)
    remove(place)
    attempt = prepare(seed, number, sound, place)
    print(f"cd {place}\n{repeated_by(attempt)}", flush=True)
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=os.dup(2))
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

    import deepgguf
    from deepgguf.run.speed import estimated_seconds
    from deepgguf.terminal import inspect_tables, json_views, plan_page, summary, verify_summary  # noqa: F401
    from deepgguf.verification import run  # noqa: F401

    for totals in deepgguf.plan_every_type(checkpoint).values():
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
    if os.geteuid() == 0 and shutil.which("setpriv") and "FUZZ_UNPRIVILEGED" not in os.environ:
        caps = "-dac_override,-dac_read_search"
        os.environ["FUZZ_UNPRIVILEGED"] = "1"
        os.execvp("setpriv", ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}", sys.executable, *sys.argv])


if __name__ == "__main__":
    without_privileges()
    sys.exit(main())
