"""What journal, digests and manifest cost: conversions with and without them, alternating, medians and spread.

usage: safety_cost.py [--runs 15] [--jobs 2] [--folder DIR] [--output DIR] [--kind v3] [--json]

Both run in a process of their own that has everything imported; "without" replaces the digest by a constant and leaves
journal and manifest out. --output is /dev/shm by default; on a disk the spread is reported too.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from conversion import arguments, bench_checkpoint
from deepgguf import plan
from deepgguf.run import file_run, worker


def without_safety() -> None:
    """No digests, no journal records."""
    file_run.FileRun.record = lambda self, *, last=False: None  # type: ignore[method-assign]

    class NoDigests:
        @staticmethod
        def xxh3_128_digest(data: memoryview) -> bytes:
            return bytes(16)

    worker.xxhash = NoDigests  # type: ignore[assignment]


def seconds(prepare: Callable[[], None], source: Path, output: Path, jobs: int, manifest: bool) -> float:
    """Seconds of one conversion in a forked process, from the plan's end to the final name."""
    made = plan(source, output)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        prepare()
        began = time.monotonic()
        made.run(jobs=jobs, overwrite=True, manifest=manifest)
        os.write(write, str(time.monotonic() - began).encode())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    taken = os.read(read, 64)
    os.close(read)
    os.close(write)
    if status:
        raise RuntimeError(f"the conversion ended with {status}")
    for file in output.iterdir():
        file.unlink()
    return float(taken)


def main() -> None:
    """Prints medians, spreads and the ratio."""
    parser = arguments(__doc__, runs=15)
    parser.add_argument("--kind", default="v3", choices=["v3", "v3-fp8"])
    options = parser.parse_args()
    source = bench_checkpoint(options.folder, options.kind)
    times: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory(dir=options.output) as out:
        for _ in range(options.runs):
            times["with"].append(seconds(lambda: None, source, Path(out), options.jobs, True))
            times["without"].append(seconds(without_safety, source, Path(out), options.jobs, False))
    ratio = statistics.median(times["with"]) / statistics.median(times["without"])
    if options.json:
        print(json.dumps(times | {"ratio": ratio}))
        return
    for name, measured in times.items():
        spread = f"{min(measured):.2f}..{max(measured):.2f}"
        print(f"{name:8} median {statistics.median(measured):.2f} s  ({spread})")
    print(f"cost     {ratio - 1:+.1%} of the time without (limit +10 %)")


if __name__ == "__main__":
    main()
