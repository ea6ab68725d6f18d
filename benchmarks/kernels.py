"""Quantization speed on one core beside ggml's, both measured in this run.

    python benchmarks/kernels.py [--level avx2] [--types Q4_K,...] [--weights 1048576] [--rounds 5] [--json]

Prints for each quantized type, without and with importance weights, millions of weights per second (medians) of the
chosen level and of ggml (ggml_quantize_chunk of libggml-python), and how many times as fast that level is. The two
alternate, so that both see the same machine. The weights are normal with a standard deviation of 0.02, in rows of
4096.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepgguf import kernels
from deepgguf.formats.gguf.types import GGMLType

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kernels"))

from ggml import ggml_quantize
from ours import quantizable, quantize

COLUMNS = 4096


class Speed(NamedTuple):
    """Millions of weights per second."""

    type: str
    importance: bool
    level: str
    ours: float
    ggml: float
    ratio: float


def seconds(work: Callable[[], object]) -> float:
    """The processor time of one call, which other work on the machine changes less than the time on the clock."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def measure(type: GGMLType, rows: NDArray[np.float32], importance: NDArray[np.float32] | None, rounds: int) -> Speed:
    """Medians of `rounds` alternating calls; ggml gets the first eighth of the rows, since it is so much slower."""
    few = rows[: max(1, len(rows) // 8)]
    quantize(type, few, importance)
    ggml_quantize(type, few[:1], importance)
    ours, ggmls = [], []
    for _ in range(rounds):
        ours.append(rows.size / seconds(lambda: quantize(type, rows, importance)) / 1e6)
        ggmls.append(few.size / seconds(lambda: ggml_quantize(type, few, importance)) / 1e6)
    mine, theirs = statistics.median(ours), statistics.median(ggmls)
    return Speed(type.name, importance is not None, kernels.active(), mine, theirs, mine / theirs)


def main() -> None:
    """Reads the arguments, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", choices=kernels.levels(), default=kernels.active())
    parser.add_argument("--types", default=",".join(type.name for type in quantizable()))
    parser.add_argument("--weights", type=int, default=1 << 20, help="how many weights a call quantizes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON, one object per measurement")
    args = parser.parse_args()
    kernels.select(args.level)
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((max(1, args.weights // COLUMNS), COLUMNS)) * 0.02).astype(np.float32)
    importance = rng.random(COLUMNS).astype(np.float32)
    types = [GGMLType[name] for name in args.types.split(",")]
    without = quantizable(importance=False)
    cases = [(t, weights) for t in types for weights in (None, importance) if weights is not None or t in without]
    speeds = [measure(t, rows, weights, args.rounds) for t, weights in cases]
    if args.json:
        print(json.dumps([speed._asdict() for speed in speeds], indent=1))
        return
    print(f"{'type':8} {'importance':10} {args.level + ' M/s':>12} {'ggml M/s':>10} {'ratio':>7}")
    for s in speeds:
        print(f"{s.type:8} {'yes' if s.importance else 'no':10} {s.ours:12.1f} {s.ggml:10.1f} {s.ratio:6.1f}x")


if __name__ == "__main__":
    main()
