"""All kernels on processors that this machine has not, in emulators: the same bits as here.

    python tests/kernels/compare_processors.py aarch64          needs g++-aarch64-linux-gnu and qemu-user-static (Debian)
    python tests/kernels/compare_processors.py avx512 --bochs PYTHON   PYTHON: one with bochscpu-python and no other need

Compiles the kernels for that processor, runs casts, FP8 and every quantizer on rows of every kind there, and compares
the bytes with those of the level `wide` here. One thing is the processor's own: the sign of a NaN that an operation
makes. So a quantized block's scale that is NaN may differ in its sign; no file holds one, such a tensor is refused.
"""

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from ours import quantizable
from rows import IMPORTANCES, MAKERS, make_importance, make_rows

from deepgguf import kernels
from deepgguf.encodings import encoding_of
from deepgguf.encodings.quantized import Quantized
from deepgguf.formats.gguf.types import GGMLType, block_of, row_bytes

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src" / "deepgguf" / "kernels"
EXACT = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-w"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
BARE = ["-fno-pie", "-fno-stack-protector", "-mno-red-zone", "-fcf-protection=none"]
ROWS, COLUMNS = 19, 768
WIDTHS = {GGMLType.F32: 4, GGMLType.F16: 2, GGMLType.BF16: 2}
# Debian 12's C library is older than the one that bochscpu's wheel was linked with.
SHIM = """
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
unsigned long long __isoc23_strtoull(const char * s, char ** end, int base) { return strtoull(s, end, base); }
int __isoc23_sscanf(const char * s, const char * format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsscanf(s, format, arguments);
    va_end(arguments);
    return n;
}
"""

Bytes = NDArray[np.uint8]


class Job(NamedTuple):
    """What the other processor is sent, what must come back (bytes and counts), and of which type these are."""

    message: bytes
    expected: Bytes
    counts: tuple[int, int, int]
    name: str
    type: GGMLType


def message(what: int, source: GGMLType, to: GGMLType, shape: tuple[int, int], src: bytes, more: bytes, nbytes: int,
            fp8: tuple[int, int, int, int] = (0, 0, 0, 0)) -> bytes:  # fmt: skip
    """The header of run_job.cpp (struct Job) and its inputs; `fp8`: first row, scales per row, the block's sides."""
    return struct.pack("<12q", what, source, to, *shape, *fp8, len(src), len(more), nbytes) + src + more


def casts() -> Iterator[Job]:
    """Every pattern of 16 bits, and floats around each of them, between F32, F16 and BF16."""
    halves = np.arange(1 << 16, dtype=np.uint16)
    words = np.concatenate(
        [(halves.astype(np.uint32) << 16) | low for low in (0, 0x0FFF, 0x1000, 0x7FFF, 0x8000, 0x8001)]
    )
    for source in WIDTHS:
        src = (words if source is GGMLType.F32 else halves).view(np.uint8)
        n = src.size // WIDTHS[source]
        for to in WIDTHS:
            out = np.empty(n * WIDTHS[to], np.uint8)
            counts = kernels.cast(src, source, out, to)
            yield Job(message(0, source, to, (1, n), src.tobytes(), b"", out.size), out, counts, "casts", to)


def fp8() -> Iterator[Job]:
    """Every code times every kind of scale that is not refused (positive, finite), in rows that end within blocks."""
    rng = np.random.default_rng(0)
    kinds = [1.0, 0.1, 1.2345678e-3, 448.0, 2.0**-100, 1e-40, 1e-45, 2.0**101, 7.6e35, 3e38]
    rows, cols, row0, block = 40, 300, 5, (16, 128)
    codes = rng.integers(0, 256, rows * cols, np.uint8)
    across, down = -(-cols // block[1]), (row0 + rows - 1) // block[0] - row0 // block[0] + 1
    for to in WIDTHS:
        for _ in range(8):
            scales = rng.choice(np.array(kinds, np.float32), across * down)
            out = np.empty(codes.size * WIDTHS[to], np.uint8)
            counts = kernels.fp8(codes, cols, row0, scales, *block, out, to)
            sent = message(1, to, to, (rows, cols), codes.tobytes(), scales.tobytes(), out.size, (row0, across, *block))
            yield Job(sent, out, counts, "FP8", to)


def quantizers() -> Iterator[Job]:
    """Rows of every kind, with every kind of importance, and without where the type can do without."""
    unweighted = quantizable(importance=False)
    for type in quantizable():
        weightings = [*([None] if type in unweighted else []), *IMPORTANCES]
        size = row_bytes(type, COLUMNS)
        for i, kind in enumerate(MAKERS):
            for j, weighted in enumerate(weightings):
                rows = make_rows(kind, 100 * i + j, ROWS, COLUMNS).reshape(-1)
                importance = None if weighted is None else make_importance(weighted, j, COLUMNS)
                out = np.empty(ROWS * size, np.uint8)
                kernels.quantize(rows, COLUMNS, type, importance, out, size)
                more = b"" if importance is None else importance.tobytes()
                sent = message(2, type, type, (ROWS, COLUMNS), rows.tobytes(), more, out.size)
                yield Job(sent, out, (0, 0, 0), type.name, type)


def f16_scales(type: GGMLType) -> tuple[int, ...]:
    """Where a block of the type holds its F16 scales."""
    encoding = encoding_of(type)
    return encoding.f16_scales if isinstance(encoding, Quantized) else ()


def without_sign_of_nan(data: Bytes, type: GGMLType) -> Bytes:
    """The blocks with every scale that is NaN (F16) made positive."""
    blocks = data.reshape(-1, block_of(type).nbytes).copy()
    for at in f16_scales(type):
        scale = blocks[:, at] | blocks[:, at + 1].astype(np.uint16) << 8
        blocks[(scale & 0x7FFF) > 0x7C00, at + 1] &= 0x7F
    if type is GGMLType.IQ1_M:  # four bits of the scale at the top of each of the last four words
        quarters = blocks[:, 49::2].astype(np.uint16) >> 4
        scale = quarters[:, 0] | quarters[:, 1] << 4 | quarters[:, 2] << 8 | quarters[:, 3] << 12
        blocks[(scale & 0x7FFF) > 0x7C00, 55] &= 0x7F
    return blocks


def build(compiler: str, level: str, lanes: int, flags: list[str], folder: Path) -> list[str]:
    """The level's objects and run_job.cpp's, compiled."""
    objects = []
    for source in [HERE / "processors" / "run_job.cpp", *sorted(SOURCES.glob("*.cpp"))]:
        if source.name != "module.cpp":
            objects.append(str(folder / f"{source.stem}.o"))
            defines = [f"-DDEEPGGUF_LEVEL={level}", f"-DDEEPGGUF_LANES={lanes}", f"-I{SOURCES}"]
            subprocess.run([compiler, *EXACT, *flags, *defines, "-c", source, "-o", objects[-1]], check=True)
    return objects


def aarch64(folder: Path, options: argparse.Namespace) -> Callable[[bytes], bytes]:
    """The level neon in qemu-user."""
    compiler = "aarch64-linux-gnu-g++"
    objects = build(compiler, "neon", 4, ["-DHOSTED"], folder)
    subprocess.run([compiler, "-static", *objects, "-o", folder / "run_job"], check=True)
    return lambda sent: (
        subprocess.run(
            ["qemu-aarch64-static", folder / "run_job"], input=sent, stdout=subprocess.PIPE, check=True
        ).stdout
    )


def avx512(folder: Path, options: argparse.Namespace) -> Callable[[bytes], bytes]:
    """The level avx512 on Bochs' processor."""
    objects = build("g++", "avx512", 16, [*AVX512, *BARE], folder)
    subprocess.run(["ld", "-static", "-Ttext-segment=0x10000000", "-o", folder / "run_job.elf", *objects], check=True)
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", folder / "shim.c", "-o", folder / "shim.so"], check=True)
    command = [options.bochs, HERE / "processors" / "on_bochs.py", folder / "run_job.elf"]
    environment = os.environ | {"LD_PRELOAD": str(folder / "shim.so")}
    return lambda sent: subprocess.run(command, input=sent, stdout=subprocess.PIPE, check=True, env=environment).stdout


def main() -> int:
    """Builds, runs, compares, prints a line per kernel; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processor", choices=["aarch64", "avx512"])
    parser.add_argument("--bochs", default=sys.executable, metavar="PYTHON", help="the Python that has bochscpu-python")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        elsewhere = {"aarch64": aarch64, "avx512": avx512}[options.processor](folder, options)
        kernels.select("wide")
        jobs: dict[str, list[Job]] = {}
        for job in [*casts(), *fp8(), *quantizers()]:
            jobs.setdefault(job.name, []).append(job)
        wrong = [compare(name, found, elsewhere) for name, found in jobs.items()]
        return int(any(wrong))
    finally:
        shutil.rmtree(folder)


def compare(name: str, jobs: list[Job], elsewhere: Callable[[bytes], bytes]) -> bool:
    """Prints how many elements or blocks there are and how many differ; whether any does."""
    answer = elsewhere(b"".join(job.message for job in jobs))
    total = different = signs = miscounted = position = 0
    for job in jobs:
        got = np.frombuffer(answer, np.uint8, job.expected.size, position)
        counts = struct.unpack_from("<3q", answer, position + got.size)
        position += got.size + 24
        miscounted += counts != job.counts
        nbytes = block_of(job.type).nbytes
        total += got.size // nbytes
        as_they_are = int((got != job.expected).reshape(-1, nbytes).any(axis=1).sum())
        ours, theirs = without_sign_of_nan(job.expected, job.type), without_sign_of_nan(got, job.type)
        different += int((ours != theirs).any(axis=1).sum())
        signs += as_they_are
    signs -= different
    note = f", {signs} in the sign of a scale that is NaN" if signs else ""
    print(f"{name:7} {total:8,} compared, {different} differ{note}, {miscounted} wrong counts", flush=True)
    return bool(different or miscounted)


if __name__ == "__main__":
    sys.exit(main())
