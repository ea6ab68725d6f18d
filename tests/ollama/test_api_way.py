"""By the server's API: blobs are sent once, errors are found wherever they stand, and silence is waited out."""

import json
import os
import shutil
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from asking import ask
from ollama_server import Handler, running
from stores import check_whole, manifest_of, model_digest

import deepgguf
from deepgguf.ollama import client as client_module
from deepgguf.ollama.address import Address, server_address
from deepgguf.ollama.client import Client

FAMILIES = {
    "v3-bf16": {},
    "v3-fp8": {"type": "q8_0"},
    "v2-lite": {"type": "q4_k_m", "target": "llama.cpp"},
    "ocr": {},
    "v32-fp8": {"type": "q8_0"},
    "v4": {},
}


def posts(server) -> list[str]:
    return [path for method, path in server.seen if method == "POST"]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_server_makes_the_model_of_the_file_that_convert_writes(remote, checkpoint, tmp_path, name):
    plan = deepgguf.plan(checkpoint(name), tmp_path / "m.gguf", **FAMILIES[name])
    said, done = [], []
    report = plan.to_ollama("me/my-model", say=said.append, progress=done.append)
    digest = sha256((tmp_path / "m.gguf").read_bytes()).hexdigest()
    assert report.sha256 == {"m.gguf": digest}
    assert (report.way, report.where, report.command) == ("api", f"http://{remote.address}", "ollama run me/my-model")
    assert posts(remote) == [f"/api/blobs/sha256:{digest}", "/api/create"]
    assert said[0].startswith(f"to the Ollama server at http://{remote.address} (")
    assert said[-1] == "Ollama: success"
    assert plan.size <= sum(done) <= 2 * plan.size
    check_whole(remote.models.root)
    shown = json.loads(ask(remote, "POST", "/api/show", b'{"model":"me/my-model"}')[1])
    assert shown["details"]["family"] == plan.architecture
    assert shown["template"] == ("{{ .Prompt }}" if name == "ocr" else "")
    assert shown["requires"] == plan.modelfile().requires


def test_a_model_and_its_mmproj_are_both_sent(remote, checkpoint, tmp_path):
    report = deepgguf.plan(checkpoint("ocr"), tmp_path / "o.gguf", target="llama.cpp").to_ollama("ocr")
    assert report.sha256.keys() == {"o.gguf", "mmproj-o.gguf"}
    kinds = [layer["mediaType"].rpartition(".")[2] for layer in manifest_of(remote.models.root, "ocr")["layers"]]
    assert kinds == ["projector", "model", "template", "params"]


def test_a_blob_that_is_there_is_not_sent_again(remote, checkpoint, tmp_path):
    plan = deepgguf.plan(checkpoint("ocr"), tmp_path / "o.gguf")
    plan.to_ollama("one")
    plan.to_ollama("two", overwrite=True)
    assert [path for path in posts(remote) if "blobs" in path] == [
        f"/api/blobs/sha256:{model_digest(remote.models.root, 'one')}"
    ]


def test_a_server_that_answers_before_the_body_is_sent_is_understood(remote, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(30_000_000))
    digest = sha256((tmp_path / "big").read_bytes()).hexdigest()
    remote.models.add((tmp_path / "big").read_bytes())
    Client(server_address(remote.address)).upload(tmp_path / "big", digest, lambda nbytes: None)


def test_silence_while_the_server_writes_the_file_anew_is_no_error(remote, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "_SECONDS", 0.2)
    monkeypatch.setattr(client_module, "_UPLOAD_SECONDS", 0.2)
    remote.silence.clear()
    threading.Timer(1.0, remote.silence.set).start()
    said = []
    deepgguf.plan(checkpoint("v2-lite"), tmp_path).to_ollama("v2", say=said.append)
    assert said[-1] == "Ollama: success"


def test_an_error_at_the_end_of_an_answer_of_status_200_is_an_error(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "nowhere"))
    with running(tmp_path / "theirs", quantizer=False) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        with pytest.raises(deepgguf.OutputError) as failed:
            deepgguf.plan(checkpoint("v2-lite"), tmp_path / "v2.gguf").to_ollama("v2")
    assert str(failed.value) == (
        f"the Ollama server at http://{server.address}: failed to validate GGUF with llama-quantize without "
        "compatibility patches: llama-quantize unavailable: llama-quantize binary not found (checked: …); "
        "see the server's log, then do it again, a conversion with `resume=True`"
    )
    assert (tmp_path / "v2.gguf").exists()


def request(server, **changes) -> list[str]:
    return list(Client(server_address(server.address)).create({"model": "x", **changes}))


def test_every_error_of_the_server_is_one_here(remote, checkpoint, tmp_path):
    path = deepgguf.convert(checkpoint("v2-lite"), tmp_path / "v2.gguf", type="q8_0").files[0].path
    whole, cut, none = (remote.models.add(data) for data in (path.read_bytes(), path.read_bytes()[:-40], b"none"))
    rows = [
        ({}, "neither 'from' or 'files' was specified"),
        ({"files": {}}, "unknown type"),
        ({"files": {"x.gguf": ""}}, "invalid digest format"),
        ({"files": {"x.gguf": "sha256:1"}}, "invalid digest format"),
        ({"files": {"x.gguf": f"sha256:{'0' * 64}"}}, "no such file or directory"),
        ({"files": {"../x.gguf": whole}}, "file path must be relative"),
        ({"files": {"x.gguf": whole}, "model": "a b"}, "invalid model name"),
        ({"files": {"x.gguf": none}}, "supplied file was not in GGUF format"),
        ({"files": {"x.gguf": cut}}, "exceeds file size"),
        ({"files": {"x.gguf": whole}, "template": "{{ .Prompt"}, "template error: template: :1: unclosed action"),
        ({"files": {"x.gguf": whole}, "quantize": "q5_k_m"}, "unsupported quantization type Q5_K_M"),
        ({"files": {"x.gguf": whole}, "quantize": "q4_k_m"}, "only supported for F16, BF16 and F32 models"),
    ]
    for changes, error in rows:
        with pytest.raises(deepgguf.OutputError, match=error.replace("(", r"\(")):
            request(remote, **changes)
    assert request(remote, files={"x.gguf": whole})[-1] == "success"


def test_an_answer_that_ends_before_success_is_an_error(remote, monkeypatch):
    monkeypatch.setattr(remote.models, "create", lambda asked, parts: iter(["parsing GGUF", "writing manifest"]))
    with pytest.raises(deepgguf.OutputError, match="it ended before it said that the model is made"):
        request(remote, files={"x.gguf": "sha256:1"})


def test_a_server_that_breaks_off_is_an_error(remote, monkeypatch):
    def breaks(asked, parts):
        yield "parsing GGUF"
        raise ConnectionAbortedError

    monkeypatch.setattr(remote.models, "create", breaks)
    with pytest.raises(deepgguf.OutputError, match="its answer broke|it ended before"):
        request(remote, files={"x.gguf": "sha256:1"})


def test_a_blob_of_another_digest_is_an_error(remote, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(deepgguf.OutputError, match="x could not be sent: digest mismatch, expected"):
        Client(server_address(remote.address)).upload(tmp_path / "x", "0" * 64, lambda nbytes: None)


def test_a_model_that_exists_is_refused_before_the_work(remote, checkpoint, tmp_path):
    deepgguf.plan(checkpoint("v2-lite"), tmp_path / "one.gguf").to_ollama("Model")
    with pytest.raises(deepgguf.UsageError, match="the model mODEL: exists in Ollama"):
        deepgguf.plan(checkpoint("v2-lite"), tmp_path / "two.gguf").to_ollama("mODEL")
    assert not (tmp_path / "two.gguf").exists()


def test_the_api_can_be_asked_for_and_needs_a_server(server, models, checkpoint, tmp_path, monkeypatch):
    report = deepgguf.plan(checkpoint("v2-lite"), tmp_path / "v2.gguf").to_ollama("v2", way="api")
    assert (report.way, (tmp_path / "v2.gguf").exists()) == ("api", True)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    with pytest.raises(deepgguf.OutputError, match=r"no server at http://127\.0\.0\.1:1 \(no answer: .*\); start it"):
        deepgguf.plan(checkpoint("v2-lite"), tmp_path / "v2.gguf").to_ollama("other", way="api")


def test_the_servers_disk_needs_room_for_its_copies(server, checkpoint, tmp_path, monkeypatch):
    plan = deepgguf.plan(checkpoint("v2-lite"), tmp_path / "v2.gguf")
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * plan.size - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(deepgguf.OutputError, match="the server needs .* bytes for blobs and its own copies"):
        plan.to_ollama("v2", way="api")
    assert not (tmp_path / "v2.gguf").exists()


def test_a_prefix_before_the_api_is_kept(remote):
    with pytest.raises(deepgguf.OutputError, match="/api/version: it answered 404"):
        Client(Address("http", "127.0.0.1", remote.server_address[1], "/prefix")).version()
    assert remote.seen == [("GET", "/prefix/api/version")]


def test_a_proxy_is_used_for_other_machines_only(remote, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://{remote.address}")
    monkeypatch.setenv("no_proxy", "box.internal")
    for host, asked in (
        ("ollama.localhost", ["http://ollama.localhost:80/api/version"]),
        ("127.0.0.1", []),
        ("box.internal", []),
    ):
        remote.seen.clear()
        with pytest.raises(deepgguf.OutputError):
            Client(Address("http", host, 80 if asked else 1)).version()
        assert [path for _, path in remote.seen] == asked


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"version":1}'])
def test_another_server_at_the_address_is_not_taken_for_ollama(remote, monkeypatch, answer):
    monkeypatch.setattr(Handler, "_version", lambda handler: handler._send(200, answer))
    with pytest.raises(deepgguf.OutputError):
        Client(server_address(remote.address)).version()


def test_a_file_that_was_finished_before_is_not_made_again(remote, checkpoint, tmp_path, monkeypatch):
    plan = deepgguf.plan(checkpoint("v2-lite"), tmp_path / "v2.gguf")
    with monkeypatch.context() as broken:
        broken.setattr(Client, "upload", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            plan.to_ollama("v2")
    written = (tmp_path / "v2.gguf").stat().st_mtime_ns
    report = plan.to_ollama("v2", resume=True)
    assert report.conversion and (report.conversion.written, report.conversion.resumed) == (0, plan.size)
    assert (tmp_path / "v2.gguf").stat().st_mtime_ns == written
    assert Path(report.conversion.files[0].path) == tmp_path / "v2.gguf"
