"""One pass from FP8 to types below four bits with an importance matrix, and what that makes of DeepSeek-V3.

usage: low_bits.py [--type iq2_xxs iq1_s] [--runs 3] [--jobs 2] [--folder DIR] [--output DIR] [--json]

The whole command on the FP8 bench checkpoint, with a matrix of made-up squares for every tensor of its blocks: medians
of seconds and of processor seconds, the peak of memory. DeepSeek-V3 has 671 × 10⁹ weights in much the same shares of
types; what 16 cores of this machine would take for it follows from the processor seconds for one weight.
"""

import argparse
import json
import statistics
import struct
import sys
import tempfile
from math import prod
from pathlib import Path

import numpy as np

from conversion import arguments, bench_checkpoint, run
from deepgguf import Plan, plan

WEIGHTS_OF_V3 = 671.0e9  # without the MTP layer, which is dropped (DeepSeek-V3, section 4.2)
CORES = 16


def write_matrix(path: Path, planned: Plan) -> None:
    """An importance matrix in the older form: squares of normal numbers for every column of every matrix."""
    rng = np.random.default_rng(0)
    infos = [t.info for t in planned.files[0].tensors if t.info.name.startswith("blk.") and len(t.info.shape) > 1]
    with path.open("wb") as file:
        file.write(struct.pack("<i", len(infos)))
        for info in infos:
            name, values = info.name.encode(), prod(info.shape[:-2]) * info.shape[-1]
            file.write(struct.pack("<i", len(name)) + name + struct.pack("<ii", 1, values))
            file.write(np.square(rng.standard_normal(values, np.float32)).tobytes())


def measure(type: str, options: argparse.Namespace) -> dict[str, object]:
    """The medians of one type."""
    source = bench_checkpoint(options.folder, "v3-fp8")
    planned = plan(source, target="llama.cpp", type="q8_0")
    weights = sum(tensor.weights for tensor in planned.files[0].tensors)
    with tempfile.TemporaryDirectory(dir=options.output) as out:
        write_matrix(Path(out) / "matrix.dat", planned)
        command = [sys.executable, "-m", "deepgguf", "convert", str(source), "--target", "llama.cpp", "--overwrite"]
        command += ["--jobs", str(options.jobs), "--type", type]
        command += ["--imatrix", f"{out}/matrix.dat", "-o", f"{out}/q.gguf"]
        runs = [run(command, sync=False) for _ in range(options.runs)]
        written = (Path(out) / "q.gguf").stat().st_size
    cpu = statistics.median(one.cpu for one in runs)
    return {
        "type": type,
        "written": written,
        "seconds": statistics.median(one.wall for one in runs),
        "cpu": cpu,
        "weights_per_cpu_second": weights / cpu,
        "peak": max(one.peak for one in runs),
        "v3_hours": cpu / weights * WEIGHTS_OF_V3 / CORES / 3600,
    }


def main() -> None:
    """Measures the chosen types and prints a table, or JSON."""
    parser = arguments(__doc__, runs=3)
    parser.add_argument("--type", nargs="+", default=["iq2_xxs", "iq1_s"])
    options = parser.parse_args()
    if not options.json:
        print(f"type       GB  seconds     cpu  M weights/cpu s  peak MB  V3 on {CORES} cores, h")
    for type in options.type:
        m = measure(type, options)
        if options.json:
            print(json.dumps(m), flush=True)
            continue
        rate, peak = f"{m['weights_per_cpu_second'] / 1e6:15.1f}", f"{m['peak'] / 1e6:8.0f}"
        times = f"{m['written'] / 1e9:5.2f} {m['seconds']:8.1f} {m['cpu']:7.1f}"
        print(f"{type:8} {times} {rate} {peak} {m['v3_hours']:16.2f}", flush=True)


if __name__ == "__main__":
    main()
