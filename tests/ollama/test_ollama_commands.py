"""The command line: from a checkpoint to `ollama run` in one command, and what is printed on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stores import check_whole, files_of, manifest_of, model_digest

import deepgguf
from deepgguf.ollama.modelfile import parse_modelfile
from deepgguf.ollama.ways import StoreWay


def run(*arguments: str | Path, cwd: Path, status: int = 0) -> tuple[str, str]:
    command = [sys.executable, "-m", "deepgguf", *arguments]
    done = subprocess.run(command, cwd=cwd, env=os.environ | {"PYTHONPATH": str(Path(deepgguf.__file__).parents[1])},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == status, done
    return done.stdout, done.stderr


def test_one_command_makes_the_model_and_says_how_to_run_it(server, checkpoint, tmp_path):
    out, said = run("convert", checkpoint("ocr"), "--ollama", "ocr:1", cwd=tmp_path)
    assert out.splitlines()[-1] == "run it: ollama run ocr:1"
    assert "sha256 " not in out
    assert f"wrote {server.models.root}/blobs/sha256-" in out
    assert said == f"deepgguf: into Ollama's store {server.models.root}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"models"}
    check_whole(server.models.root)


def test_json_names_the_model_its_digests_and_the_way(server, checkpoint, tmp_path):
    out, _ = run("convert", checkpoint("v2-lite"), "--ollama", "v2", "--json", cwd=tmp_path)
    found = json.loads(out)
    assert found["ollama"] == {
        "name": "v2",
        "way": "store",
        "where": str(server.models.root),
        "sha256": {"v2-lite-BF16.gguf": model_digest(server.models.root, "v2")},
        "run": "ollama run v2",
    }
    assert found["run"] == "ollama run v2"


def test_by_the_api_a_file_stays_where_it_is_wanted(remote, checkpoint, tmp_path):
    arguments = ("convert", checkpoint("v2-lite"), "-o", tmp_path / "v2.gguf", "--ollama", "v2", "--ollama-way", "api")
    out, said = run(*arguments, cwd=tmp_path)
    assert out.splitlines()[-1] == "run it: ollama run v2"
    assert said.splitlines()[0] == f"deepgguf: to the Ollama server at http://{remote.address}"
    assert said.splitlines()[-1] == "deepgguf: Ollama: success"
    assert (tmp_path / "v2.gguf").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--ollama", "a b"), "the model's name: Ollama refuses 'a b'; it must be letters, digits and any of _.-, "),
        (("--ollama", "v3", "-o", "x.gguf"), "--output contradicts --ollama: the file goes into Ollama's store; "
         "leave it out, or choose --ollama-way api, which keeps a file"),
        (("--modelfile", "x"), "--modelfile has no meaning without --ollama; "),
        (("--ollama-way", "api"), "--ollama-way has no meaning without --ollama; "),
        (("--ollama", "v3", "--split-max-tensors", "9"), "--ollama: the plan has "),
        (("--ollama", "v3", "--modelfile", "none"), "none: no such file; "),
        (("--ollama", "v3", "--resume", "--restart"), "--resume contradicts --restart; "),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_the_work(models, checkpoint, tmp_path, arguments, complaint):
    _, said = run("convert", checkpoint("v3-bf16"), *arguments, cwd=tmp_path, status=2)
    assert said.splitlines()[-1].startswith(f"deepgguf: {complaint}")
    assert files_of(models) == {}


def test_what_another_choice_would_do_better_is_said(models, checkpoint, tmp_path):
    _, said = run("convert", checkpoint("v3-fp8"), "--ollama", "v3", cwd=tmp_path)
    assert said.splitlines()[1:] == [
        "deepgguf: from FP8, Ollama itself makes Q8_0: --type q8_0 gives that at once, in half the space",
        "deepgguf: --target llama.cpp runs in Ollama too, with a KV cache 9 to 71 times smaller (docs/targets.md)",
    ]
    better = ("--type", "q8_0", "--target", "llama.cpp")
    _, said = run("convert", checkpoint("v3-fp8"), "--ollama", "q", *better, cwd=tmp_path)
    assert len(said.splitlines()) == 1


def test_the_modelfile_is_printed_and_nothing_done(models, checkpoint, tmp_path):
    out, said = run("convert", checkpoint("ocr"), "--target", "llama.cpp", "--print-modelfile", cwd=tmp_path)
    assert out == (
        "FROM ./ocr-BF16.gguf\nFROM ./mmproj-ocr-BF16.gguf\nTEMPLATE {{ .Prompt }}\nREQUIRES 0.30.0\n"
        "PARAMETER temperature 0\nPARAMETER num_ctx 8192\n"
    )
    assert said == ""
    assert parse_modelfile(out, "it") == deepgguf.plan(checkpoint("ocr"), target="llama.cpp").modelfile()
    assert files_of(models) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"models"}


def test_files_that_are_there_are_imported(server, checkpoint, tmp_path):
    deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "v3.gguf", split_max_tensors=20)
    first = next(iter(sorted(tmp_path.glob("v3-*.gguf"))))
    out, _ = run("ollama", "import", first, "me/v3", cwd=tmp_path)
    assert out == "run it: ollama run me/v3\n"
    out, _ = run("ollama", "import", first, "v3", "--json", cwd=tmp_path)
    assert json.loads(out)["sha256"] == {"v3.gguf": model_digest(server.models.root, "v3")}
    _, said = run("ollama", "import", first, "v3", cwd=tmp_path, status=2)
    assert (
        said
        == "deepgguf: the model v3: exists in Ollama; replace it with --overwrite, or give another name\n".replace(
            "deepgguf: the", f"deepgguf: into Ollama's store {server.models.root}\ndeepgguf: the"
        )
    )
    run("ollama", "import", first, "v3", "--overwrite", cwd=tmp_path)
    _, said = run("ollama", "import", tmp_path / "none.gguf", "v3", cwd=tmp_path, status=2)
    assert said == f"deepgguf: {tmp_path}/none.gguf: no such file\n"


def test_an_interrupted_conversion_resumes(models, checkpoint, tmp_path):
    arguments = ("convert", checkpoint("v3-bf16"), "--ollama", "v3")
    plan = deepgguf.plan(checkpoint("v3-bf16"))
    with pytest.raises(KeyboardInterrupt):
        plan.to_ollama("v3", progress=lambda nbytes: (_ for _ in ()).throw(KeyboardInterrupt))
    _, said = run(*arguments, cwd=tmp_path, status=4)
    assert said.splitlines()[-1].endswith("resume it with --resume, or discard it with --restart")
    assert not (models / "manifests/registry.ollama.ai").exists()
    run(*arguments, "--resume", cwd=tmp_path)
    assert len(manifest_of(models, "v3")["layers"]) == 2
    check_whole(models)


def test_what_another_run_left_is_said_and_left_alone(models, checkpoint):
    with pytest.raises(KeyboardInterrupt):
        deepgguf.plan(checkpoint("v2-lite")).to_ollama(
            "v2", progress=lambda n: (_ for _ in ()).throw(KeyboardInterrupt)
        )
    said = []
    deepgguf.plan(checkpoint("v2-lite"), type="q8_0").to_ollama("v2", say=said.append)
    staging = models / "deepgguf/registry.ollama.ai/library/v2/latest"
    assert said[-1] == f"{staging} still holds what an interrupted run with other choices left; remove it"
    assert sorted(path.name for path in staging.iterdir()) == [
        "v2-lite-BF16.gguf.part",
        "v2-lite-BF16.gguf.part.journal",
    ]


def test_what_is_left_whole_is_taken_up_or_discarded(models, checkpoint, tmp_path, monkeypatch):
    plan = deepgguf.plan(checkpoint("v3-bf16"))
    with monkeypatch.context() as broken:
        broken.setattr(StoreWay, "publish", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                plan.to_ollama("v3", restart=True)
    with pytest.raises(deepgguf.OutputError, match="an interrupted run left this file; resume it with"):
        plan.to_ollama("v3")
    report = plan.to_ollama("v3", resume=True)
    assert report.conversion and report.conversion.written == 0
    check_whole(models)
