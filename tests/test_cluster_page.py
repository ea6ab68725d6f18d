"""docs/cluster.md: its recipes do what they say, with a small checkpoint and without a cluster."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import deepgguf
from deepgguf.cli.arguments import parse
from tiny_checkpoint import V3, weights, write_checkpoint

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/cluster.md").read_text()
SOURCE = Path(deepgguf.__file__).parents[1]
TASKS = 2
HOW = "--target llama.cpp --type q8_0 --split-max-tensors 7 --jobs 1"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def setting(tmp_path, monkeypatch) -> dict[str, str]:
    """What the recipes' variables stand for; `deepgguf` is on the path."""
    source = write_checkpoint(tmp_path / "source", V3, weights(V3))
    (tmp_path / "one").mkdir()
    deepgguf.convert(source, tmp_path / "one" / "model.gguf", target="llama.cpp", type="q8_0", split_max_tensors=7)
    (tmp_path / "out").mkdir()
    command(tmp_path, "deepgguf", f'PYTHONPATH={SOURCE} exec {sys.executable} -m deepgguf "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return {"SRC": str(source), "OUT": str(tmp_path / "out" / "model.gguf"), "HOW": HOW, "TASKS": str(TASKS)}


def command(folder: Path, name: str, script: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(script: str, environment: dict[str, str]) -> None:
    subprocess.run(["bash", "-c", script], env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)


def with_ours(script: str, setting: dict[str, str]) -> str:
    """The script with our values where it sets variables."""
    for name, value in setting.items():
        script = re.sub(rf"^{name}=.*$", f"{name}={shlex.quote(value)}", script, flags=re.MULTILINE)
    return script


def assert_whole(tmp_path: Path) -> None:
    one, out = ({p.name: p.read_bytes() for p in (tmp_path / f).glob("*.gguf")} for f in ("one", "out"))
    assert len(one) == 5
    assert out == one


def test_the_script_for_slurm_makes_the_set(setting, tmp_path):
    script = with_ours(blocks("bash")[0], setting)
    assert "#SBATCH --array=1-16" in script
    assert "${TASKS:-16}" in script
    for task in range(1, TASKS + 1):
        run(script, {"SLURM_ARRAY_TASK_ID": str(task), "TASKS": str(TASKS)})
    assert_whole(tmp_path)


def test_the_job_for_kubernetes_makes_the_set(setting, tmp_path):
    job = yaml.safe_load(blocks("yaml")[0])["spec"]
    (container,) = job["template"]["spec"]["containers"]
    its = {entry["name"]: entry["value"] for entry in container["env"]}
    assert its.keys() == setting.keys()
    assert int(its["TASKS"]) == job["completions"]
    assert (job["completionMode"], job["template"]["spec"]["restartPolicy"]) == ("Indexed", "Never")
    for index in range(TASKS):
        words = [*container["command"], *container["args"]]
        run(shlex.join(words), setting | {"JOB_COMPLETION_INDEX": str(index)})
    assert_whole(tmp_path)


HF = """
import os, subprocess, sys
words = sys.argv[1:]
image = words.index("python:3.12")
options = words[:image]
settings = [value for flag, value in zip(options, options[1:]) if flag == "--env"]
ours = dict(entry.split("=", 1) for entry in settings) | {"SRC": os.environ["SRC"], "OUT": os.environ["OUT"]}
subprocess.run(words[image + 1 :], env=os.environ | ours, check=True)
"""


def test_the_loop_for_hugging_face_jobs_makes_the_set(setting, tmp_path):
    (tmp_path / "hf.py").write_text(HF)
    command(tmp_path, "hf", f'exec {sys.executable} {tmp_path}/hf.py "$@"')
    command(tmp_path, "pip", "true")
    run(with_ours(blocks("bash")[1], setting), setting)
    assert_whole(tmp_path)


def test_every_command_on_the_page_is_one():
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    commands = [found[0] for line in lines if (found := re.search(r"deepgguf [^\"]*", line))]
    assert len(commands) == 6
    for words in map(shlex.split, commands):
        parse(words[1:])


def test_the_table_of_scale_is_what_its_script_prints():
    table = subprocess.run([sys.executable, ROOT / "benchmarks/scale.py"], capture_output=True, text=True, check=True)
    assert table.stdout in PAGE
