"""Conversion beside `cp`: whole processes, alternating, medians, ratios in the same run.

usage: conversion.py [--case bf16 fp8 ...] [--runs 5] [--jobs 2] [--folder DIR] [--output DIR] [--json]

Makes the bench checkpoints (4.4 GB BF16, 2.7 GB FP8, 3.3 GB V4) in --folder if they are not there, reads them once so
that they are in the page cache, and converts them to --output, by default /dev/shm: there only the work counts. `cp`
copies as many bytes as the conversion writes: the shards themselves for BF16, the converted file for the others. With
--output on a disk, both contestants sync before the clock stops.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple


class Case(NamedTuple):
    """A conversion to time: the sample's kind, the arguments, the limit of the ratio to cp (None: reported only)."""

    kind: str
    arguments: tuple[str, ...]
    limit: float | None


CASES = {
    "bf16": Case("v3", (), 1.2),
    "fp8": Case("v3-fp8", (), 1.5),
    "bf16-llama.cpp": Case("v3", ("--target", "llama.cpp"), 1.2),
    "fp8-llama.cpp": Case("v3-fp8", ("--target", "llama.cpp"), 1.5),
    "bf16-llama.cpp-split": Case("v3", ("--target", "llama.cpp", "--split-max-size", "1G"), 1.2),
    "v4": Case("v4", ("--target", "llama.cpp"), 1.3),
    "fp8-llama.cpp-split": Case("v3-fp8", ("--target", "llama.cpp", "--split-max-size", "1G"), 1.5),
}


class Run(NamedTuple):
    """One finished process: seconds on the clock and on the processors, peak resident bytes."""

    wall: float
    cpu: float
    peak: int


def run(command: list[str], sync: bool) -> Run:
    """Runs `command` to its end; RuntimeError if it fails."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    if sync:
        os.sync()
    return Run(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def bench_checkpoint(folder: Path, kind: str) -> Path:
    """The bench checkpoint of `kind` in `folder`, made if missing, and in the page cache."""
    made = folder / f"bench-{kind}"
    if not (made / "config.json").exists():
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "deepgguf", "sample", kind, made, "--size", "bench", "--shards", "4"], check=True
        )
    for shard in sorted(made.glob("*.safetensors")):
        with shard.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
    return made


def measure(name: str, options: argparse.Namespace) -> dict[str, object]:
    """The medians of one case, the contestants alternating after a warm-up of each."""
    case = CASES[name]
    source = bench_checkpoint(options.folder, case.kind)
    sync = not str(options.output).startswith("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=options.output) as out,
        tempfile.TemporaryDirectory(dir=options.folder) as keep,
    ):
        ours = [sys.executable, "-m", "deepgguf", "convert", str(source), "-o", out, "--jobs", str(options.jobs)]
        ours += ["--overwrite", *case.arguments]
        run(ours, sync)
        files = sorted(Path(out).glob("*.gguf"))
        written = sum(file.stat().st_size for file in files)
        if case.kind == "v3":
            copied = sorted(source.glob("*.safetensors"))
        else:
            copied = [Path(shutil.copy(file, keep)) for file in files]
        pairs: list[tuple[Run, Run]] = []
        for _ in range(options.runs):
            for file in Path(out).iterdir():
                file.unlink()
            mine = run(ours, sync)
            for file in Path(out).iterdir():
                file.unlink()
            pairs.append((mine, run(["cp", *map(str, copied), out], sync)))
    ratios = [mine.wall / cp.wall for mine, cp in pairs]
    return {
        "case": name,
        "written": written,
        "seconds": statistics.median(mine.wall for mine, _ in pairs),
        "cpu": statistics.median(mine.cpu for mine, _ in pairs),
        "cp": statistics.median(cp.wall for _, cp in pairs),
        "ratio": statistics.median(mine.wall for mine, _ in pairs) / statistics.median(cp.wall for _, cp in pairs),
        "ratios": sorted(ratios),
        "peak": max(mine.peak for mine, _ in pairs),
        "limit": case.limit,
    }


def arguments(description: str | None, runs: int) -> argparse.ArgumentParser:
    """What every benchmark of whole conversions can be told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=runs, help=f"how often each contestant runs (default: {runs})")
    parser.add_argument("--jobs", type=int, default=2, help="threads (default: 2)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="the bench checkpoints")
    parser.add_argument("--output", type=Path, default=Path("/dev/shm"), help="where to write (default: /dev/shm)")
    parser.add_argument("--json", action="store_true", help="a line of JSON per case")
    return parser


def main() -> None:
    """Measures the chosen cases and prints a table, or JSON."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("--case", nargs="+", default=["bf16", "fp8"], choices=list(CASES))
    options = parser.parse_args()
    if not options.json:
        print("case                      GB  seconds    cpu     cp  ratio  limit  min..max     peak MB")
    for name in options.case:
        m = measure(name, options)
        if options.json:
            print(json.dumps(m), flush=True)
            continue
        ratios = m["ratios"]
        assert isinstance(ratios, list)
        size, times = f"{m['written'] / 1e9:5.2f}", f"{m['seconds']:8.2f} {m['cpu']:6.2f} {m['cp']:6.2f}"
        spread = f"{ratios[0]:.2f}..{ratios[-1]:.2f}"
        print(
            f"{name:22} {size} {times} {m['ratio']:6.2f} {m['limit']:6.2f}  {spread}   {m['peak'] / 1e6:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
