"""Several types for two targets of one reading: source bytes, time beside the encoders' own, memory, the same files.

usage: outputs.py [--type q8_0 q4_k_m iq2_xxs bf16] [--runs 1] [--jobs 2] [--folder DIR] [--output DIR] [--check]
                  [--json]

From the FP8 bench checkpoint, with a matrix of made-up squares for the types that take one. In the process that makes
the files the kernels that write a type's bytes are timed: FP8 to BF16 for the plain files, and the quantizers, by the
processor time of the thread that calls them. `encoders` is the sum over all outputs, each by itself; `encoders_run` is
what was run, for what two targets have alike is encoded once. Processor seconds of the whole process beside them tell
what all else takes, on a busy machine too. `--check` makes each
output alone as well, which takes longer, and compares bytes.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepgguf
from conversion import arguments, bench_checkpoint
from deepgguf import kernels
from deepgguf.encodings import PLAIN
from deepgguf.files.local import LocalFiles
from deepgguf.planning.schema import PlannedTensor
from low_bits import write_matrix

TARGETS = ("ollama", "llama.cpp")
LIMIT, MEMORY, MEMORY_PER_OUTPUT = 1.1, 300e6, 40e6


class CountingFiles(LocalFiles):
    """A folder that counts the bytes that are read of its shards' data."""

    read_bytes = 0
    lock = threading.Lock()

    def readinto(self, file: Any, offset: int, buffer: Any) -> None:
        """As a folder's."""
        with self.lock:
            CountingFiles.read_bytes += memoryview(buffer).nbytes
        super().readinto(file, offset, buffer)


class Timed:
    """The kernels that write a type's bytes, with the processor seconds and the weights of each by type."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.weights: Counter[str] = Counter()
        quantize, fp8 = kernels.quantize, kernels.fp8
        kernels.quantize = lambda *given: self._time(quantize, given[2].name, given)
        kernels.fp8 = lambda *given: self._time(fp8, "plain", given)

    def _time(self, kernel: Callable[..., Any], type: str, given: tuple[Any, ...]) -> Any:
        began = time.thread_time()
        try:
            return kernel(*given)
        finally:
            self.seconds[type] += time.thread_time() - began
            self.weights[type] += given[0].size

    def of(self, tensor: PlannedTensor) -> float:
        """Seconds that the encoder of one output's tensor takes by itself, as fast as it was here."""
        fp8 = any(form.form.dtype == "F8_E4M3" for form in tensor.forms)
        type = tensor.info.type.name if tensor.info.type not in PLAIN else "plain" if fp8 else ""
        return tensor.weights * self.seconds[type] / self.weights[type] if type in self.weights else 0.0


def make(source: Path, out: Path, types: list[str], jobs: int) -> dict[str, Any]:
    """Makes all outputs in this process; what it took."""
    files, kernels_timed = CountingFiles(source), Timed()
    plans = deepgguf.plan_several(files, out, types=types, targets=TARGETS, imatrix=out / "matrix.dat")
    CountingFiles.read_bytes = 0
    wall, cpu = time.monotonic(), time.process_time()
    reports = deepgguf.run_together(plans, jobs=jobs)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    blobs = {
        (blob.file, blob.offset): blob.nbytes
        for plan in plans for file in plan.files for tensor in file.tensors for s in tensor.sources for blob in s.blobs
    }  # fmt: skip
    return {
        "outputs": len(plans),
        "written": sum(report.written for report in reports),
        "source_bytes": sum(blobs.values()),
        "read_bytes": CountingFiles.read_bytes,
        "seconds": wall,
        "cpu": cpu,
        "encoders": sum(kernels_timed.of(t) for plan in plans for file in plan.files for t in file.tensors),
        "encoders_run": sum(kernels_timed.seconds.values()),
        "jobs": jobs,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "planned_files": [[plan.type, plan.target, str(plan.folder / plan.files[0].name)] for plan in plans],
    }


def differing(source: Path, out: Path, made: list[list[str]], jobs: int) -> list[str]:
    """The files that are not what is made alone."""
    found = []
    for type, target, path in made:
        alone = out / "alone.gguf"
        deepgguf.convert(source, alone, type=type, target=target, imatrix=_matrix(type, out), jobs=jobs)
        if subprocess.run(["cmp", path, alone], check=False).returncode:
            found.append(path)
        alone.unlink()
        (out / "alone.gguf.json").unlink()
    return found


def _matrix(type: str, out: Path) -> Path | None:
    return None if type in ("bf16", "f16", "f32") else out / "matrix.dat"


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One run in a process of its own."""
    source = bench_checkpoint(options.folder, "v3-fp8")
    with tempfile.TemporaryDirectory(dir=options.output) as name:
        out = Path(name)
        # For both layouts: the names of one, and attn_kv_b as the other has it.
        write_matrix(out / "matrix.dat", deepgguf.plan(source, target="llama.cpp", type="q8_0"))
        command = [sys.executable, __file__, "--here", name, "--folder", str(options.folder)]
        command += ["--jobs", str(options.jobs), "--type", *options.type]
        made: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        planned = made.pop("planned_files")
        if options.check:
            made["differing"] = differing(source, out, planned, options.jobs)
    return made | {
        "wall_over_encoders": made["seconds"] * made["jobs"] / made["encoders"],
        "cpu_over_encoders": made["cpu"] / made["encoders"],
        "cpu_over_encoders_run": made["cpu"] / made["encoders_run"],
        "limit": LIMIT,
        "peak_limit": MEMORY + MEMORY_PER_OUTPUT * made["outputs"],
    }


def main() -> None:
    """Measures, and prints a line for each fact, or JSON."""
    parser = arguments(__doc__, runs=1)
    parser.set_defaults(output=Path(tempfile.gettempdir()))
    parser.add_argument("--type", nargs="+", default=["q8_0", "q4_k_m", "iq2_xxs", "bf16"])
    parser.add_argument("--check", action="store_true", help="make each output alone too, and compare")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(make(options.folder / "bench-v3-fp8", options.here, options.type, options.jobs)))
        return
    for _ in range(options.runs):
        found = measure(options)
        print(json.dumps(found) if options.json else "\n".join(f"{name:20} {fact}" for name, fact in found.items()))


if __name__ == "__main__":
    main()
