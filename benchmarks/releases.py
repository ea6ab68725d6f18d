"""Two releases of deepgguf beside each other: whole processes, alternating, medians of the same run.

usage: releases.py --old PYTHON [--case bf16 fp8 fp8-q4_k_m fp8-q8_0 plan] [--runs 9] [--jobs 2] [--folder DIR]
                   [--output DIR] [--json]

PYTHON is the interpreter of an environment in which the other release is installed. The checkpoints are made in
--folder if they are not there: the bench ones for conversions, DeepSeek-V3's own headers with holes for weights for
`plan`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from conversion import Run, arguments, bench_checkpoint, run


class Case(NamedTuple):
    """What to time: the sample's kind (None: the whole V3, planned), the choices, and the limits."""

    kind: str | None
    choices: tuple[str, ...] = ()
    most_time: float = 1.03  # of the other release's
    most_memory: float = 150e6


CASES = {
    "bf16": Case("v3"),
    "fp8": Case("v3-fp8"),
    "fp8-q4_k_m": Case("v3-fp8", ("--type", "q4_k_m")),
    "fp8-q8_0": Case("v3-fp8", ("--type", "q8_0")),
    "plan": Case(None, most_memory=200e6),
}


def whole_v3(folder: Path) -> Path:
    """The whole DeepSeek-V3 as true headers with holes for weights."""
    made = folder / "full-v3-fp8"
    if not (made / "config.json").exists():
        shutil.rmtree(made, ignore_errors=True)
        options = ["--size", "full", "--sparse", "--shards", "163", "--scatter"]
        subprocess.run([sys.executable, "-m", "deepgguf", "sample", "v3-fp8", made, *options], check=True)
    return made


def command(python: str, case: Case, source: Path, out: Path, jobs: int) -> list[str]:
    """What one contestant runs."""
    start = [python, "-m", "deepgguf"]
    if case.kind is None:
        return [*start, "plan", str(source)]
    return [*start, "convert", str(source), "-o", str(out), "--jobs", str(jobs), *case.choices]


def contest(case: Case, options: argparse.Namespace) -> dict[str, list[Run]]:
    """The runs of both releases, alternating after a warm-up of each."""
    source = bench_checkpoint(options.folder, case.kind) if case.kind else whole_v3(options.folder)
    found: dict[str, list[Run]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory(dir=options.output) as name:
        for number in range(options.runs + 1):
            for release, python in (("old", options.old), ("new", sys.executable)):
                measured = run(command(python, case, source, Path(name), options.jobs), sync=False)
                for made in Path(name).iterdir():
                    made.unlink()
                if number:
                    found[release].append(measured)
    return found


def report(name: str, case: Case, found: dict[str, list[Run]]) -> dict[str, object]:
    """Medians, ratio and peak as data."""
    seconds = {release: statistics.median(r.wall for r in runs) for release, runs in found.items()}
    busy = {release: statistics.median(r.cpu for r in runs) for release, runs in found.items()}
    return {
        "case": name,
        "seconds": seconds,
        "processor_seconds": busy,
        "ratio": seconds["new"] / seconds["old"],
        "most_time": case.most_time,
        "peak": max(r.peak for r in found["new"]),
        "most_memory": case.most_memory,
    }


def main() -> None:
    """Prints a line a case."""
    parser = arguments(__doc__, runs=9)
    parser.add_argument("--old", required=True, help="the interpreter that has the other release")
    parser.add_argument("--case", nargs="+", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    os.environ.pop("DEEPGGUF_SIMD", None)
    for name in options.case:
        row = report(name, CASES[name], contest(CASES[name], options))
        if options.json:
            print(json.dumps(row))
            continue
        old, new = row["seconds"]["old"], row["seconds"]["new"]  # type: ignore[index]
        peak = row["peak"] / 1e6  # type: ignore[operator]
        print(
            f"{name:12} old {old:.2f} s, new {new:.2f} s, {row['ratio']:.3f} x (limit {CASES[name].most_time}), "
            f"peak {peak:.0f} MB (limit {CASES[name].most_memory / 1e6:.0f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
