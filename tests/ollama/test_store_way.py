"""Into the store: the file is written once, as the server would have it, and the server shows the model."""

import json
import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from asking import ask, create, sent
from ollama_server import running
from stores import check_whole, files_of, manifest_of, model_digest

import deepgguf
from deepgguf.ollama.store import store_folders

FAMILIES = {
    "v3-bf16": {},
    "v3-fp8": {"type": "q8_0"},
    "v3-tied": {"type": "q4_k_m"},
    "v2-lite": {"target": "llama.cpp"},
    "ocr": {},
    "v32-fp8": {"type": "q8_0"},
    "v4": {},
}


def listed(server) -> list[str]:
    return sorted(model["name"] for model in json.loads(ask(server, "GET", "/api/tags")[1])["models"])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_blob_is_the_file_that_convert_writes_and_the_server_shows_the_model(server, checkpoint, tmp_path, name):
    plan = deepgguf.plan(checkpoint(name), tmp_path / "m.gguf", **FAMILIES[name])
    said = []
    report = plan.to_ollama("my-model:tag", say=said.append)
    expected = plan.run().files[0].path.read_bytes()
    assert report.sha256 == {"m.gguf": sha256(expected).hexdigest()}
    blob = server.models.root / "blobs" / f"sha256-{sha256(expected).hexdigest()}"
    assert blob.read_bytes() == expected
    assert deepgguf.verify(blob, checkpoint(name)).differences == ()
    assert (report.name, report.way, report.command) == ("my-model:tag", "store", "ollama run my-model:tag")
    assert said[0] == f"into Ollama's store {server.models.root}"
    check_whole(server.models.root)
    assert listed(server) == ["my-model:tag"]
    shown = json.loads(ask(server, "POST", "/api/show", b'{"model":"my-model:tag"}')[1])
    assert shown["details"]["family"] == plan.architecture
    assert ("vision" in shown["capabilities"]) is (name == "ocr")
    assert shown["template"] == ("{{ .Prompt }}" if name == "ocr" else "")


def test_a_model_and_its_mmproj_are_two_layers(server, checkpoint, tmp_path):
    plan = deepgguf.plan(checkpoint("ocr"), tmp_path / "o.gguf", target="llama.cpp")
    plan.to_ollama("ocr")
    layers = manifest_of(server.models.root, "ocr")["layers"]
    assert [(layer["mediaType"].rpartition(".")[2], layer.get("from")) for layer in layers] == [
        ("projector", "mmproj-o.gguf"),
        ("model", None),
        ("template", None),
        ("params", None),
    ]
    assert "vision" in json.loads(ask(server, "POST", "/api/show", b'{"model":"ocr"}')[1])["capabilities"]


@pytest.mark.parametrize(
    ("name", "choices"), [("ocr", {}), ("ocr", {"target": "llama.cpp"}), ("v3-bf16", {}), ("v4", {})]
)
def test_the_store_is_what_a_server_makes_of_the_same_files(models, checkpoint, tmp_path, monkeypatch, name, choices):
    plan = deepgguf.plan(checkpoint(name), tmp_path / "m.gguf", **choices)
    paths = [file.path for file in plan.run().files]
    plan.to_ollama("Some-Model:1")
    needs = plan.modelfile()
    with running(tmp_path / "theirs") as other:
        _, lines = create(
            other,
            model="Some-Model:1",
            files={path.name: sent(other, path.read_bytes()) for path in paths},
            template=needs.template,
            parameters=needs.parameters,
            requires=needs.requires,
        )
        assert lines[-1] == {"status": "success"}
    ours, theirs = files_of(models), files_of(tmp_path / "theirs")
    if name != "ocr" or choices:  # the server has written the text model anew; the rest is the same
        for path in paths:
            theirs.pop(f"blobs/sha256-{sha256(path.read_bytes()).hexdigest()}", None)
            if not path.name.startswith("mmproj"):
                ours.pop(f"blobs/sha256-{sha256(path.read_bytes()).hexdigest()}")
        made = max((p for p in theirs if p.startswith("blobs/") and p not in ours), key=lambda p: len(theirs[p]))
        rewritten = theirs.pop(made)
        if choices:
            mmproj = next(path for path in paths if path.name.startswith("mmproj"))
            theirs[f"blobs/sha256-{sha256(mmproj.read_bytes()).hexdigest()}"] = mmproj.read_bytes()
        (text,) = [path for path in paths if not path.name.startswith("mmproj")]
        place = "manifests/registry.ollama.ai/library/Some-Model/1"
        own = (sha256(text.read_bytes()).hexdigest(), text.stat().st_size)
        new = (made.removeprefix("blobs/sha256-"), len(rewritten))
        for before, after in zip(own, new, strict=True):
            ours[place] = ours[place].replace(str(before).encode(), str(after).encode())
    assert ours == theirs


def test_the_bytes_that_are_written_are_those_of_the_model(models, checkpoint, tmp_path):
    size = deepgguf.plan(checkpoint("v3-bf16")).size
    calls = "write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,splice"
    command = ["strace", "-f", "-qq", "-y", "-o", tmp_path / "log", f"--trace={calls}"]
    convert = [sys.executable, "-m", "deepgguf", "convert", checkpoint("v3-bf16"), "--ollama", "v3"]
    subprocess.run([*command, *convert], cwd=tmp_path, check=True, capture_output=True)
    written = re.findall(rf"<{models}[^>]*>.* = (\d+)$", (tmp_path / "log").read_text(), re.MULTILINE)
    assert size <= sum(map(int, written)) <= 1.02 * size
    assert sum(path.stat().st_size for path in models.rglob("*") if path.is_file()) <= 1.02 * size


def test_an_existing_model_is_replaced_only_if_asked_whatever_its_case(server, checkpoint, tmp_path):
    deepgguf.plan(checkpoint("v3-bf16")).to_ollama("Model")
    before = files_of(server.models.root)
    plan = deepgguf.plan(checkpoint("v3-bf16"), type="q8_0")
    with pytest.raises(deepgguf.UsageError) as refused:
        plan.to_ollama("mODEL")
    assert str(refused.value) == (
        "the model mODEL: exists in Ollama; replace it with `overwrite=True`, or give another name"
    )
    assert files_of(server.models.root) == before
    plan.to_ollama("mODEL", overwrite=True)
    assert listed(server) == ["Model:latest"]
    check_whole(server.models.root)
    assert len(list((server.models.root / "blobs").iterdir())) == 3


def test_blobs_that_other_models_use_stay(server, checkpoint):
    deepgguf.plan(checkpoint("v3-bf16")).to_ollama("one")
    deepgguf.plan(checkpoint("v3-bf16")).to_ollama("two")
    shared = model_digest(server.models.root, "one")
    assert model_digest(server.models.root, "two") == shared
    deepgguf.plan(checkpoint("v3-bf16"), type="q8_0").to_ollama("one", overwrite=True)
    assert model_digest(server.models.root, "two") == shared
    check_whole(server.models.root)


def test_no_blob_goes_while_a_manifest_cannot_be_read(models, checkpoint):
    deepgguf.plan(checkpoint("v3-bf16")).to_ollama("one")
    old = model_digest(models, "one")
    broken = models / "manifests/registry.ollama.ai/library/broken/latest"
    broken.parent.mkdir()
    broken.write_text("{")
    deepgguf.plan(checkpoint("v3-bf16"), type="q8_0").to_ollama("one", overwrite=True)
    assert (models / "blobs" / f"sha256-{old}").exists()


def test_a_modelfile_of_the_users_counts_instead(models, checkpoint, tmp_path):
    (tmp_path / "Modelfile").write_text(
        'FROM elsewhere\nSYSTEM Be <brief> & kind.\nPARAMETER stop "<x>"\nLICENSE mine\n'
    )
    deepgguf.plan(checkpoint("ocr")).to_ollama("ocr", modelfile=tmp_path / "Modelfile")
    layers = manifest_of(models, "ocr")["layers"]
    contents = {
        layer["mediaType"].rpartition(".")[2]: (models / "blobs" / layer["digest"].replace(":", "-")).read_bytes()
        for layer in layers[1:]
    }
    assert contents == {
        "system": b"Be <brief> & kind.",
        "license": b"mine",
        "params": b'{"stop":["\\u003cx\\u003e"]}\n',
    }


def test_without_a_server_or_a_store_nothing_begins(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "none"))
    with pytest.raises(deepgguf.OutputError) as refused:
        deepgguf.plan(checkpoint("v3-bf16"), tmp_path).to_ollama("v3")
    assert str(refused.value) == (
        "Ollama: no server at http://127.0.0.1:1 (no answer: [Errno 111] Connection refused); "
        f"{tmp_path}/none: there is no such folder; "
        "start it (`ollama serve`), or set OLLAMA_HOST or OLLAMA_MODELS"
    )
    with pytest.raises(deepgguf.OutputError, match="Ollama's store: .*no such folder; set OLLAMA_MODELS"):
        deepgguf.plan(checkpoint("v3-bf16"), tmp_path).to_ollama("v3", way="store")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_not_the_servers_is_not_written_to(remote, models, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", remote.address)
    deepgguf.plan(checkpoint("v2-lite"), tmp_path).to_ollama("theirs", way="api")
    said = []
    deepgguf.plan(checkpoint("v2-lite"), tmp_path).to_ollama("mine", say=said.append, overwrite=True)
    reason = f"{models}: the server's theirs:latest is not in it"
    assert said[0] == f"to the Ollama server at http://{remote.address} ({reason})"
    assert files_of(models) == {}
    with pytest.raises(deepgguf.OutputError, match=re.escape(reason)):
        deepgguf.plan(checkpoint("v2-lite"), tmp_path).to_ollama("other", way="store")


def test_an_empty_server_of_another_store_is_noticed_at_the_end(remote, models, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", remote.address)
    with pytest.raises(deepgguf.OutputError, match="does not show v2: its models are elsewhere; set OLLAMA_MODELS"):
        deepgguf.plan(checkpoint("v2-lite"), tmp_path).to_ollama("v2")


def test_a_store_that_cannot_be_written_to_is_left_to_its_server(server, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "blobs")
    said = []
    report = deepgguf.plan(checkpoint("v2-lite"), tmp_path).to_ollama("v2", say=said.append)
    root = server.models.root
    assert said[0] == f"to the Ollama server at http://{server.address} ({root}: {root}/blobs may not be written to)"
    assert report.way == "api"


def test_what_the_superuser_writes_is_the_stores_owners(models, checkpoint, monkeypatch):
    if os.geteuid() == 0:
        os.chown(models, 12345, 12345)
    owner, given = (models.stat().st_uid, models.stat().st_gid), {}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, *ids: given.update({Path(path).name: ids}))
    deepgguf.plan(checkpoint("v2-lite")).to_ollama("v2")
    assert given == dict.fromkeys(
        ("deepgguf", "registry.ollama.ai", "library", "v2", "latest", "v2-lite-BF16.gguf", "blob", "manifest"), owner
    )


def test_an_engine_that_is_too_old_is_refused_before_the_work(models, checkpoint, monkeypatch):
    with running(models, "0.30.8") as old:
        monkeypatch.setenv("OLLAMA_HOST", old.address)
        with pytest.raises(deepgguf.UsageError, match=r"this Ollama is 0\.30\.8, and deepseek32 runs since 0\.30\.9"):
            deepgguf.plan(checkpoint("v32-fp8")).to_ollama("v32")
    assert files_of(models) == {}


def test_too_little_room_is_noticed_before_the_work(models, checkpoint, monkeypatch):
    usage = shutil.disk_usage(models)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(deepgguf.OutputError, match="bytes are needed, 1,000 are free"):
        deepgguf.plan(checkpoint("v3-bf16")).to_ollama("v3")


@pytest.mark.parametrize(
    "choices", [{"split_max_tensors": 20}, {"split_max_tensors": 1000}, {"split_max_tensors": 20, "part": 1}]
)
def test_what_is_no_whole_model_in_one_file_is_refused(models, checkpoint, choices):
    with pytest.raises(deepgguf.UsageError, match="Ollama takes whole models, each in one file"):
        deepgguf.plan(checkpoint("v3-bf16"), **choices).to_ollama("v3")


def test_an_mmproj_alone_is_refused(models, checkpoint):
    with pytest.raises(deepgguf.UsageError, match="Ollama takes whole models"):
        deepgguf.plan(checkpoint("ocr"), target="llama.cpp", only="mmproj").to_ollama("ocr")


@pytest.mark.parametrize(
    ("environment", "platform", "folders"),
    [
        ({"OLLAMA_MODELS": "/m", "HOME": "/h"}, "linux", ["/m"]),
        ({"OLLAMA_MODELS": '"/m"'}, "linux", ["/m"]),
        ({"HOME": "/h"}, "linux", ["/h/.ollama/models", "/usr/share/ollama/.ollama/models"]),
        ({"HOME": "/h"}, "darwin", ["/h/.ollama/models"]),
    ],
)
def test_where_the_models_are(environment, platform, folders):
    assert store_folders(environment, platform) == list(map(Path, folders))
