"""One pass from FP8 to a quantized file beside the two steps that it replaces.

usage: quantization.py [--gguf] [--type q4_k_m q8_0] [--runs 3] [--jobs 2] [--folder DIR] [--output DIR] [--json]

Ours is the whole command, output on tmpfs. The two steps are measured from below in the same run: a conversion to BF16
(by deepgguf itself, many times faster than llama.cpp's), then ggml's own quantizers (ggml_quantize_chunk of
libggml-python, in as many threads) on every tensor of that file, without any writing. Beside that stands what the
real two steps, convert_hf_to_gguf.py and llama-quantize, took on a machine of this kind: 45 s + 160 s for Q4_K_M,
45 s + 21 s for Q8_0.

With --gguf the source is that BF16 file itself, and beside `quantize` stand ggml's quantizers and `cp` of the file, in
the same run: Q4_K_M is to be 6 times as fast as these, Q8_0 to take at most 1.3 times as long as `cp`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import deepgguf
from conversion import arguments, bench_checkpoint, run
from deepgguf import plan
from deepgguf.encodings import PLAIN
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.planning.schema import PlannedTensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "kernels"))

from ggml import ggml_quantize

REAL_SECONDS = {"q4_k_m": 45 + 160, "q8_0": 45 + 21}
LIMITS = {"q4_k_m": 8.0, "q8_0": 12.0}
_ROWS = 512


def quantize_with_ggml(file: Path, planned: list[PlannedTensor], data_offset: int, jobs: int) -> float:
    """Seconds that ggml takes for all quantized tensors of the BF16 file, rows shared among `jobs` threads."""
    whole = np.memmap(file, np.uint8, "r")
    types = {tensor.info.name: tensor.info.type for tensor in planned}
    tasks = iter(_row_runs(whole, plan_tensors(file), types, data_offset))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                task = next(tasks, None)
            if task is None:
                return
            bits, type = task
            ggml_quantize(type, (bits.astype(np.uint32) << 16).view(np.float32))

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def plan_tensors(file: Path) -> list[tuple[str, GGMLType, tuple[int, ...], int]]:
    """Name, type, shape and offset of the tensors of a written file."""
    from deepgguf.formats.gguf.decode import read_header

    return [(t.name, t.type, t.shape, t.offset) for t in read_header(file).tensors]


def _row_runs(whole: NDArray[np.uint8], tensors: list[tuple[str, GGMLType, tuple[int, ...], int]],
              types: dict[str, GGMLType], data_offset: int):  # fmt: skip
    for name, type, shape, offset in tensors:
        if type is not GGMLType.BF16 or types[name] in PLAIN:
            continue
        rows = int(np.prod(shape[:-1]))
        start = data_offset + offset
        bits = whole[start : start + rows * shape[-1] * 2].view(np.uint16).reshape(rows, shape[-1])
        for row in range(0, rows, _ROWS):
            yield bits[row : row + _ROWS], types[name]


def measure(type: str, options: argparse.Namespace) -> dict[str, object]:
    """The medians of one type, the contestants alternating."""
    source = bench_checkpoint(options.folder, "v3-fp8")
    command = [sys.executable, "-m", "deepgguf", "convert", str(source), "--target", "llama.cpp", "--overwrite"]
    command += ["--jobs", str(options.jobs)]
    planned = list(plan(source, target="llama.cpp", type=type).files[0].tensors)
    ours, step1, step2, peaks = [], [], [], []
    with tempfile.TemporaryDirectory(dir=options.output) as out:
        bf16 = Path(out) / "bf16.gguf"
        for _ in range(options.runs):
            one = run([*command, "--type", type, "-o", f"{out}/q.gguf"], sync=False)
            ours.append(one.wall)
            peaks.append(one.peak)
            step1.append(run([*command, "--type", "bf16", "-o", str(bf16)], sync=False).wall)
            offset = deepgguf.inspect(bf16).files[0].data_offset
            # In a process of its own, or the mapped file would count as memory of those started here after it.
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                step2.append(pool.submit(quantize_with_ggml, bf16, planned, offset, options.jobs).result())
    mine, two = statistics.median(ours), statistics.median(a + b for a, b in zip(step1, step2, strict=True))
    return {
        "type": type,
        "seconds": mine,
        "two_steps_at_least": two,
        "ratio_at_least": two / mine,
        "real_two_steps": REAL_SECONDS.get(type),
        "ratio": REAL_SECONDS[type] / mine if type in REAL_SECONDS else None,
        "limit": LIMITS.get(type),
        "peak": max(peaks),
    }


def bench_gguf(options: argparse.Namespace) -> Path:
    """The bench checkpoint as a BF16 file beside it, made if missing, and in the page cache."""
    source = bench_checkpoint(options.folder, "v3-fp8")
    made = options.folder / "bench-v3-BF16.gguf"
    if not made.exists():
        deepgguf.convert(source, made, type="bf16", target="llama.cpp", jobs=options.jobs)
    with made.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    return made


def measure_gguf(type: str, options: argparse.Namespace) -> dict[str, object]:
    """The medians of one type from the BF16 file, the contestants alternating."""
    source = bench_gguf(options)
    planned = list(deepgguf.plan_quantize(source, type=type).files[0].tensors)
    offset = deepgguf.inspect(source).files[0].data_offset
    command = [sys.executable, "-m", "deepgguf", "quantize", str(source), "--overwrite", "--jobs", str(options.jobs)]
    ours, ggmls, copies, peaks = [], [], [], []
    with tempfile.TemporaryDirectory(dir=options.output) as out:
        for _ in range(options.runs):
            one = run([*command, "--type", type, "-o", f"{out}/q.gguf"], sync=False)
            ours.append(one.wall)
            peaks.append(one.peak)
            Path(out, "q.gguf").unlink()
            copies.append(run(["cp", str(source), f"{out}/copy.gguf"], sync=False).wall)
            Path(out, "copy.gguf").unlink()
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                ggmls.append(pool.submit(quantize_with_ggml, source, planned, offset, options.jobs).result())
    mine, ggml, copy = (statistics.median(seconds) for seconds in (ours, ggmls, copies))
    sizes = {"type": type, "seconds": mine, "ggml": ggml, "cp": copy, "peak": max(peaks)}
    return sizes | {"ggml_over_ours": ggml / mine, "ours_over_cp": mine / copy}


def print_gguf(type: str, options: argparse.Namespace) -> None:
    """A line of the table, or of JSON."""
    m = measure_gguf(type, options)
    if options.json:
        print(json.dumps(m), flush=True)
        return
    times = f"{m['seconds']:7.2f} {m['ggml']:7.2f} {m['cp']:6.2f}"
    print(f"{type:8} {times} {m['ggml_over_ours']:10.1f} {m['ours_over_cp']:8.2f}  {m['peak'] / 1e6:.0f}", flush=True)


def main() -> None:
    """Measures the chosen types and prints a table, or JSON."""
    parser = arguments(__doc__, runs=3)
    parser.add_argument("--type", nargs="+", default=["q4_k_m", "q8_0"])
    parser.add_argument("--gguf", action="store_true", help="from the BF16 file of the bench checkpoint")
    options = parser.parse_args()
    if options.gguf:
        if not options.json:
            print("type     seconds    ggml     cp  ggml/ours  ours/cp  peak MB")
        for type in options.type:
            print_gguf(type, options)
        return
    if not options.json:
        print("type     seconds  two steps >=  ratio >=   real two steps  ratio  limit  peak MB")
    for type in options.type:
        m = measure(type, options)
        if options.json:
            print(json.dumps(m), flush=True)
            continue
        real = f"{m['real_two_steps'] or 0:14}  {m['ratio'] or 0:5.1f}  {m['limit'] or 0:5.1f}"
        measured = f"{m['seconds']:7.2f} {m['two_steps_at_least']:13.2f} {m['ratio_at_least']:9.1f}"
        print(f"{type:8} {measured}  {real}  {m['peak'] / 1e6:.0f}", flush=True)


if __name__ == "__main__":
    main()
