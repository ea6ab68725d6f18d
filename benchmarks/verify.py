"""`deepgguf verify` with the source beside reading both files once: time and memory.

    python benchmarks/verify.py FOLDER [--kinds v3 v3-fp8] [--type auto] [--size bench] [--rounds 5] [--jobs 2]

Makes a checkpoint of each kind in FOLDER (9 GB are needed there; a tmpfs leaves the disk out), converts it for
llama.cpp, then alternates: reading all files once in one thread, verifying them in a process of its own. Prints the
medians, their ratio, and the largest resident memory of any verification. Everything in FOLDER that it made is removed.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import deepgguf

_CHUNK = 1 << 20


def read_once(files: list[Path]) -> float:
    """Seconds to read all bytes of the files into one buffer."""
    buffer = bytearray(_CHUNK)
    began = time.perf_counter()
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        while os.readv(descriptor, [buffer]):
            pass
        os.close(descriptor)
    return time.perf_counter() - began


def verify_once(arguments: list[str]) -> float:
    """Seconds of one run of the command, its start included."""
    environment = os.environ | {"PYTHONPATH": str(Path(deepgguf.__file__).parents[1])}
    began = time.perf_counter()
    command = [sys.executable, "-m", "deepgguf", "verify", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def measure(kind: str, folder: Path, options: argparse.Namespace) -> None:
    """One line: medians, ratio, memory."""
    source, file = folder / kind, folder / f"{kind}.gguf"
    try:
        deepgguf.sample(kind, source, size=options.size)
        deepgguf.convert(source, file, target="llama.cpp", type=options.type)
        files = [*sorted(source.glob("*.safetensors")), file]
        reads, runs = [], []
        for _ in range(options.rounds):
            reads.append(read_once(files))
            runs.append(verify_once([str(file), str(source), "--jobs", str(options.jobs)]))
        read, run = statistics.median(reads), statistics.median(runs)
        nbytes = sum(path.stat().st_size for path in files)
        memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        print(
            f"{kind} {options.type}: {nbytes / 1e9:.1f} GB read in {read:.2f} s, verified in {run:.2f} s, "
            f"{run / read:.2f} times (rounds {min(b / a for a, b in zip(reads, runs, strict=True)):.2f} to "
            f"{max(b / a for a, b in zip(reads, runs, strict=True)):.2f}), {memory / 1e6:.0f} MB",
            flush=True,
        )
    finally:
        shutil.rmtree(source, ignore_errors=True)
        for path in folder.glob(f"{kind}.gguf*"):
            path.unlink()


def main() -> None:
    """Parses and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["v3", "v3-fp8"])
    parser.add_argument("--type", default="auto")
    parser.add_argument("--size", default="bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for kind in options.kinds:
        measure(kind, options.folder, options)


if __name__ == "__main__":
    main()
