"""`deepgguf verify` with the source beside reading both files once: time and memory.

usage: verify.py [--case bf16 fp8] [--type auto] [--runs 5] [--jobs 2] [--folder DIR] [--output DIR] [--json]

Makes the bench checkpoints in --folder if they are not there, and converts each for llama.cpp to --output, by default
/dev/shm (4.4 GB are needed there). Then three contestants alternate: reading all bytes of both in one thread, the same
in --jobs threads, and the whole command. The ratio that has a limit is the command's median over that of one thread's
reading; beside it stands the ratio to the reading in as many threads as the command has. The memory is the largest of
any verification.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conversion import arguments, bench_checkpoint, run

CASES = {"bf16": ("v3", 2.0), "fp8": ("v3-fp8", 3.0)}
_CHUNK = 1 << 20
_RUN = 64 * _CHUNK  # what a thread reads before it takes the next


def read_once(files: Sequence[Path], jobs: int) -> float:
    """Seconds until `jobs` threads, each with a buffer of 1 MiB, have read all bytes of the files."""

    def read(task: tuple[Path, int]) -> None:
        file, offset = task
        buffer, end = bytearray(_CHUNK), offset + _RUN
        with file.open("rb", buffering=0) as opened:
            while offset < end and (got := os.preadv(opened.fileno(), [buffer], offset)):
                offset += got

    tasks = [(file, offset) for file in files for offset in range(0, file.stat().st_size, _RUN)]
    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(read, tasks))
    return time.monotonic() - began


def measure(name: str, options: argparse.Namespace) -> dict[str, object]:
    """The medians of one case, the contestants alternating after a warm-up of each."""
    kind, limit = CASES[name]
    source = bench_checkpoint(options.folder, kind)
    ours = [sys.executable, "-m", "deepgguf"]
    with tempfile.TemporaryDirectory(dir=options.output) as folder:
        file = Path(folder) / "bench.gguf"
        run([*ours, "convert", str(source), "-o", str(file), "--target", "llama.cpp", "--type", options.type], False)
        verify = [*ours, "verify", str(file), str(source), "--jobs", str(options.jobs)]
        files = [*sorted(source.glob("*.safetensors")), file]
        read_once(files, 1)
        run(verify, False)
        rounds = [
            (read_once(files, 1), read_once(files, options.jobs), run(verify, False)) for _ in range(options.runs)
        ]
        nbytes = sum(path.stat().st_size for path in files)
    alone, together = (statistics.median(one[i] for one in rounds) for i in (0, 1))
    seconds = statistics.median(one[2].wall for one in rounds)
    return {
        "case": name,
        "type": options.type,
        "bytes": nbytes,
        "reading": alone,
        "reading_in_threads": together,
        "seconds": seconds,
        "cpu": statistics.median(one[2].cpu for one in rounds),
        "ratio": seconds / alone,
        "ratio_in_threads": seconds / together,
        "limit": limit,
        "peak": max(one[2].peak for one in rounds),
    }


def main() -> None:
    """Measures the chosen cases and prints a table, or JSON."""
    parser = arguments(__doc__, runs=5)
    parser.add_argument("--case", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--type", default="auto", help="of the file to verify (default: auto)")
    options = parser.parse_args()
    if not options.json:
        print("case     GB  reading  in threads  verifying    cpu  ratio  limit  ratio in threads  peak MB")
    for name in options.case:
        m = measure(name, options)
        if options.json:
            print(json.dumps(m), flush=True)
            continue
        times = f"{m['reading']:8.2f} {m['reading_in_threads']:11.2f} {m['seconds']:10.2f} {m['cpu']:6.2f}"
        ratios = f"{m['ratio']:6.2f} {m['limit']:6.2f} {m['ratio_in_threads']:17.2f}"
        print(f"{name:5} {m['bytes'] / 1e9:5.2f} {times} {ratios} {m['peak'] / 1e6:8.0f}", flush=True)


if __name__ == "__main__":
    main()
