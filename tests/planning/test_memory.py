"""The plan's prediction of memory, compared with a real run of the command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deepgguf import api
from deepgguf.planning.needs import memory_needed
from deepgguf.samples.make import make_sample

# A process starts with its parent's peak (getrusage(2)), so that the parent must be a small one.
LAUNCHER = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "deepgguf", *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_of(*arguments: str) -> int:
    """Peak resident bytes of `deepgguf` with these arguments."""
    command = [sys.executable, "-c", LAUNCHER, *arguments]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(printed) * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("type", ["auto", "q4_k_m"])
@pytest.mark.parametrize("name", ["v3-bf16", "v3-fp8", "ocr"])
def test_a_conversion_needs_what_the_plan_predicts(checkpoint, tmp_path, name, type):
    source = str(checkpoint(name))
    predicted = memory_needed(api.plan(source, type=type), jobs=2)
    measured = peak_of("convert", source, "-o", str(tmp_path / "out.gguf"), "--type", type, "--jobs", "2")
    assert 0.75 * predicted < measured < 1.05 * predicted


def test_memory_hardly_grows_with_the_model(tmp_path: Path):
    # The same shapes and tokenizer, one layer of experts against five: 0.6 GB against 2.7 GB of FP8.
    peaks = [memory_needed(api.plan(bench_with_layers(tmp_path, layers)), jobs=2) for layers in (2, 6)]
    assert peaks[1] < 1.1 * peaks[0]


def bench_with_layers(folder: Path, layers: int) -> Path:
    """A sparse bench checkpoint with this many layers."""
    made = make_sample("v3-fp8", folder / f"{layers}", size="bench", sparse=True).folder
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))
    return made
