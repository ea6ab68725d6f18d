"""The printed command, carried out by a shell with stand-ins for the engines."""

import os
import subprocess
from pathlib import Path

import pytest

import deepgguf
from deepgguf.terminal.run_command import how_to_run, run_command

STAND_IN = """#!/bin/sh
for word in "$0" "$@"; do printf '%s\\n' "${word##*/bin/}"; done >> calls
"""


def carried_out(plan: deepgguf.Plan, at: Path) -> list[str]:
    """The words of every engine's command that the printed one calls, in the folder `at`."""
    (at / "bin").mkdir()
    for name in ("ollama", "llama-cli", "llama-mtmd-cli"):
        (at / "bin" / name).write_text(STAND_IN)
        (at / "bin" / name).chmod(0o755)
    path = f"{at / 'bin'}:{os.environ['PATH']}"
    command = run_command(plan, plan.folder)
    subprocess.run(["sh", "-c", command], cwd=at, env={"PATH": path}, check=True)
    return (at / "calls").read_text().splitlines()


@pytest.mark.parametrize("name", ["a model.gguf", "it's.gguf", "$(touch owned).gguf", "-m.gguf", "100%s\\n.gguf"])
def test_llamacpp_gets_the_file_whatever_its_name(checkpoint, tmp_path, name):
    planned = deepgguf.plan(checkpoint("v2-lite"), tmp_path / name, target="llama.cpp")
    assert carried_out(planned, tmp_path) == ["llama-cli", "-m", str(tmp_path / name)]


@pytest.mark.parametrize("name", ["a model.gguf", "it's.gguf", "$(touch owned).gguf", "-m.gguf", "100%s\\n.gguf"])
def test_ollama_gets_the_file_whatever_its_name_under_a_name_that_it_allows(checkpoint, tmp_path, name):
    _, create, model, *_ = carried_out(deepgguf.plan(checkpoint("v2-lite"), tmp_path / name), tmp_path)
    assert (tmp_path / "Modelfile").read_text() == f"FROM {tmp_path / name}\n"
    assert create == "create"
    assert model in ("a-model", "it-s", "touch-owned-", "m", "100-s-n")


def test_a_name_in_the_current_folder_is_not_an_option(checkpoint):
    planned = deepgguf.plan(checkpoint("v2-lite"), "-m.gguf", target="llama.cpp")
    assert run_command(planned, planned.folder) == "llama-cli -m ./-m.gguf"


def test_ollama_is_told_what_the_model_needs(checkpoint, tmp_path):
    planned = deepgguf.plan(checkpoint("ocr"), tmp_path / "o.gguf")
    assert carried_out(planned, tmp_path)[:3] == ["ollama", "create", "o"]
    assert (tmp_path / "Modelfile").read_text() == f"FROM {tmp_path / 'o.gguf'}\nTEMPLATE {{{{ .Prompt }}}}\n"


def test_what_was_fp8_becomes_q8_0_in_ollama(checkpoint):
    planned = deepgguf.plan(checkpoint("v3-fp8"), "v3.gguf")
    assert how_to_run(planned, planned.folder)[1:] == [
        "Ollama makes Q8_0 of it, for it was FP8; --type q8_0 gives that at once, in half the space"
    ]


def test_ollama_gets_every_file_of_a_split_set(checkpoint, tmp_path):
    planned = deepgguf.plan(checkpoint("v2-lite"), tmp_path / "v2.gguf", split_max_tensors=20)
    assert carried_out(planned, tmp_path)[:3] == ["ollama", "create", "v2"]
    assert (tmp_path / "Modelfile").read_text() == "".join(f"FROM {tmp_path / file.name}\n" for file in planned.files)
    assert len(planned.files) > 1


def test_an_ollama_that_refuses_split_sets_gets_them_joined(checkpoint):
    planned = deepgguf.plan(checkpoint("v2-lite"), "v2.gguf", split_max_tensors=20)
    joined = f"llama-gguf-split --merge ./{planned.files[0].name} ./v2.gguf"
    assert how_to_run(planned, planned.folder)[1] == (
        f"Ollama before 0.30 refuses a split set; join the files for it: {joined}"
    )


def test_llamacpp_gets_the_first_file_of_a_split_set(checkpoint):
    planned = deepgguf.plan(checkpoint("v2-lite"), "v2.gguf", target="llama.cpp", split_max_tensors=20)
    assert how_to_run(planned, planned.folder) == [
        f"run it: llama-cli -m ./{planned.files[0].name}",
        "llama.cpp finds the other files beside the first",
    ]


def test_one_file_of_a_split_set_cannot_be_run(checkpoint):
    planned = deepgguf.plan(checkpoint("v2-lite"), split_max_tensors=20, part=1)
    files = planned.files[0].keys["split.count"].value
    assert run_command(planned, planned.folder) is None
    assert how_to_run(planned, planned.folder) == [f"run it once all {files} files are there"]


def test_llamacpp_gets_the_mmproj_beside_the_model(checkpoint, tmp_path):
    folder = tmp_path / "mmproj-files"
    folder.mkdir()
    planned = deepgguf.plan(checkpoint("ocr"), folder / "o.gguf", target="llama.cpp")
    model, mmproj = str(folder / "o.gguf"), str(folder / "mmproj-o.gguf")
    assert carried_out(planned, tmp_path) == ["llama-mtmd-cli", "-m", model, "--mmproj", mmproj]


def test_a_split_model_whose_path_has_mmproj_in_it_has_no_mmproj(checkpoint, tmp_path):
    planned = deepgguf.plan(
        checkpoint("v2-lite"), tmp_path / "mmproj-v2.gguf", target="llama.cpp", split_max_tensors=20
    )
    assert run_command(planned, planned.folder) == f"llama-cli -m {tmp_path / planned.files[0].name}"


def test_an_mmproj_alone_cannot_be_run(checkpoint):
    planned = deepgguf.plan(checkpoint("ocr"), "o.gguf", target="llama.cpp", only="mmproj")
    assert run_command(planned, planned.folder) is None
    assert how_to_run(planned, planned.folder) == [
        "an mmproj runs only together with its model: llama-mtmd-cli -m MODEL.gguf --mmproj ./mmproj-o.gguf"
    ]


def test_ollama_is_given_the_model_and_what_it_sees_with(checkpoint, tmp_path):
    plan = deepgguf.plan(checkpoint("ocr2"), target="ollama")
    text, mmproj = (f"{tmp_path}/{file.name}" for file in plan.files)
    command = run_command(plan, tmp_path)
    assert command is not None
    assert command.startswith(f"printf 'FROM %s\\n' {text} {mmproj} > Modelfile && ")
