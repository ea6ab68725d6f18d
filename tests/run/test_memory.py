"""The plan's prediction of memory, held against a real run of the command."""

import subprocess
import sys
from pathlib import Path

import pytest
from small_checkpoints import medium_v3

import deepgguf
from deepgguf.planning.joint import join
from deepgguf.planning.needs import memory_needed

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
    predicted = memory_needed(deepgguf.plan(source, type=type), jobs=2)
    measured = peak_of("convert", source, "-o", str(tmp_path / "out.gguf"), "--type", type, "--jobs", "2")
    assert 0.75 * predicted < measured < 1.05 * predicted


def test_several_outputs_need_what_their_plans_predict_together(checkpoint, tmp_path):
    source, types, targets = checkpoint("v3-fp8"), "q8_0,q4_k_m,bf16", "ollama,llama.cpp"
    plans = deepgguf.plan_several(source, types=types.split(","), targets=targets.split(","))
    predicted = memory_needed(join(plans), jobs=2)
    measured = peak_of(
        "convert", str(source), "-o", f"{tmp_path}/", "--type", types, "--target", targets, "--jobs", "2"
    )
    assert 0.75 * predicted < measured < 1.05 * predicted


def test_memory_hardly_grows_with_the_model(tmp_path: Path):
    small, large = (medium_v3(tmp_path / f"{layers}", layers) for layers in (2, 8))
    assert size_of(large) > 3.9 * size_of(small)
    peaks = [peak_of("convert", str(folder), "-o", str(folder / "out.gguf")) for folder in (small, large)]
    assert peaks[1] < 1.1 * peaks[0]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
