"""What the coordinator can serve: the real one, with journal and progress, against workers that make no bytes.

usage: coordinator.py [--model v3|v4-pro] [--folder DIR] [--output DIR] [--json]

Plans the whole model from sparse headers (made in --folder if they are not there), a million pieces of DeepSeek-V3 or
three of V4-Pro, and carries the plan out as `convert` does, into a sparse file in --output. The workers answer at once
with results that hold no bytes; the time in which they make these is not counted. What is left is the coordinator's:
windows cut, results tallied, records synced and appended to the journal, the file completed and named.

Processor seconds say what it can serve on a core of its own; the clock's are more on a machine with other work.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from deepgguf import plan
from deepgguf.encodings.encoding import Counts
from deepgguf.planning.schema import Plan
from deepgguf.planning.windows import Window, windows
from deepgguf.run import outputs
from deepgguf.run.disk import Disk
from deepgguf.run.execute import execute
from deepgguf.run.result import Result
from deepgguf.run.settings import Settings

WANTED = 2000  # windows a second
MODELS = {"v3": ("v3-fp8", "full", 163), "v4-pro": ("v4", "pro", 64)}


class SparseDisk(Disk):
    """Files have their size, and no room is reserved for what nobody writes."""

    def _reserve(self, fd: int, size: int) -> bool:
        return False


class Idle:
    """Workers that have made a window as soon as they get it; the results say so and hold no bytes."""

    jobs, shares_files = 1, True

    def map(self, work: Callable[[Any], Iterable[Any]], tasks: Iterable[Any]) -> Generator[Any]:
        """See `Executor.map`."""
        for window in tasks:
            yield from made(window)


def made(window: Window) -> list[Result]:
    """The results of a window, with digests of as many bytes as real ones."""
    return [
        Result(share.file, number, share.start + piece.offset, piece.nbytes, number.to_bytes(16, "little"), Counts())
        for share in window.shares
        for number, piece in enumerate(share.pieces, share.number)
    ]


def headers(folder: Path, model: str) -> Path:
    """The whole model without its weights in `folder`, made if missing."""
    kind, size, shards = MODELS[model]
    source = folder / f"{size}-{kind}"
    if not (source / "config.json").exists():
        sample = ("sample", kind, str(source), "--size", size, "--sparse", "--shards", str(shards))
        subprocess.run([sys.executable, "-m", "deepgguf", *sample], check=True)
    return source


class Cost(NamedTuple):
    """Of one run: counts, and processor seconds, but for `clock`. `all` is with `cutting` and `making` results."""

    windows: int
    pieces: int
    cutting: float
    making: float
    all: float
    clock: float

    @property
    def own(self) -> float:
        """The coordinator's."""
        return self.all - self.making


def measure(chosen: Plan, output: Path) -> Cost:
    """One run into a new folder in `output`; before it the windows alone, then their results, to subtract these."""
    began = time.process_time()
    count = sum(1 for _ in windows(chosen))
    cutting = time.process_time() - began
    began = time.process_time()
    pieces = sum(len(made(window)) for window in windows(chosen))
    making = time.process_time() - began - cutting
    room = SimpleNamespace(disk_usage=lambda folder: SimpleNamespace(free=chosen.size))
    outputs.shutil = room  # type: ignore[assignment]
    told = [0]

    def progress(nbytes: int) -> None:
        told[0] += nbytes

    with tempfile.TemporaryDirectory(dir=output) as folder:
        began, clock = time.process_time(), time.monotonic()
        execute(chosen, Settings(folder=Path(folder)), Idle(), disk=SparseDisk(), progress=progress)
        cost = Cost(count, pieces, cutting, making, time.process_time() - began, time.monotonic() - clock)
    assert told[0] == sum(tensor.info.nbytes for file in chosen.files for tensor in file.tensors)
    return cost


def main() -> None:
    """Prints the cost of a window and of a piece, and the rate that follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="v3")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--output", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cost = measure(plan(headers(options.folder, options.model), target="llama.cpp"), options.output)
    if options.json:
        print(json.dumps(cost._asdict() | {"windows_per_second": cost.windows / cost.own}))
        return
    counts = f"{cost.windows:,} windows, {cost.pieces:,} pieces"
    print(f"{counts}: {cost.own:.1f} processor seconds, {cost.clock:.1f} on the clock")
    print(f"a window costs {1e6 * cost.own / cost.windows:.0f} µs, {1e6 * cost.cutting / cost.windows:.0f} to cut it")
    print(f"a piece costs {1e6 * cost.own / cost.pieces:.1f} µs")
    print(f"{cost.windows / cost.own:,.0f} windows/s (wanted: {WANTED:,})")


if __name__ == "__main__":
    main()
