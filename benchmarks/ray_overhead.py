"""FP8 to Q4_K_M on a Ray of this machine beside the same by threads, in the same run: what the cluster costs.

usage: ray_overhead.py [--runs 3] [--jobs 2] [--folder DIR] [--output DIR] [--json]

Ray is started once, and its workers have been at work before, as on a cluster that is there; both alternate.
Ray may take at most 1.15 times as long. Beside the seconds stand those that processors were at work, of every process.
"""

import json
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import ray

import deepgguf
from conversion import arguments, bench_checkpoint

LIMIT = 1.15
_TICK = os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """Seconds of a conversion, and of processors."""

    wall: float
    cpu: float


def main() -> None:
    """Measures, prints, and fails if Ray takes longer than it may."""
    options = arguments(__doc__, runs=3).parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    source = bench_checkpoint(options.folder, "v3-fp8")
    how = {"object_store_memory": 200 << 20, "include_dashboard": False, "log_to_driver": False}
    ray.init(num_cpus=options.jobs, logging_level=logging.ERROR, **how)
    by: dict[str, deepgguf.Executor] = {"threads": deepgguf.Threads(options.jobs), "ray": deepgguf.Ray()}
    spent: dict[str, list[Spent]] = {name: [] for name in by}
    for run in range(options.runs + 1):
        for name, executor in by.items():
            found = converted(source, options.output, executor)
            spent[name] += [found] if run else []
    medians = {n: Spent(*(statistics.median(one) for one in zip(*all, strict=True))) for n, all in spent.items()}
    ratio = medians["ray"].wall / medians["threads"].wall
    if options.json:
        print(json.dumps({name: found._asdict() for name, found in medians.items()} | {"ratio": ratio}))
    else:
        for name, found in medians.items():
            print(f"{name:8} {found.wall:6.1f} s, processors {found.cpu:6.1f} s")
        print(f"Ray takes {ratio:.2f} times as long; at most {LIMIT}")
    assert ratio <= LIMIT


def converted(source: Path, output: Path, executor: deepgguf.Executor) -> Spent:
    """One conversion; its file is removed."""
    with tempfile.TemporaryDirectory(dir=output) as out:
        before, began = cpu_seconds(), time.monotonic()
        deepgguf.convert(source, Path(out, "x.gguf"), type="q4_k_m", executor=executor)
        return Spent(time.monotonic() - began, cpu_seconds() - before)


def cpu_seconds() -> float:
    """What this process and all that descend from it have spent so far; those of Ray descend from it."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        number = int(stat.parent.name)
        parents[number], ticks[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    ours, more = {os.getpid()}, {os.getpid()}
    while more:
        more = {number for number, parent in parents.items() if parent in more} - ours
        ours |= more
    return sum(ticks.get(number, 0) for number in ours) / _TICK


if __name__ == "__main__":
    main()
