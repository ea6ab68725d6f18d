"""The server that stands in for Ollama's answers as the real one did (each row was measured on it)."""

import json
from hashlib import sha256
from pathlib import Path

import pytest
from asking import ask, create, sent
from stores import model_digest

import deepgguf

BAD = "invalid digest format"


@pytest.fixture
def v3(server, checkpoint, tmp_path) -> Path:
    return deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "v3.gguf").files[0].path


def test_blobs(server):
    digest = f"sha256:{sha256(b'x').hexdigest()}"
    target = f"/api/blobs/{digest}"
    assert ask(server, "HEAD", target) == (404, b"")
    assert ask(server, "POST", target, b"y")[0] == 400
    assert ask(server, "HEAD", f"/api/blobs/sha256:{sha256(b'y').hexdigest()}") == (200, b"")  # under its real digest
    assert ask(server, "POST", target, b"x") == (201, b"")
    assert ask(server, "POST", target, b"x") == (200, b"")
    assert ask(server, "HEAD", target) == (200, b"")
    assert ask(server, "HEAD", target.replace("sha256:", "sha256-")) == (200, b"")
    assert ask(server, "HEAD", f"/api/blobs/sha256:{digest[7:].upper()}") == (404, b"")
    assert ask(server, "HEAD", "/api/blobs/sha256:short") == (400, b"")
    assert ask(server, "POST", "/api/blobs/md5", b"x") == (400, b'{"error":"invalid digest format"}\n')
    assert ask(server, "GET", target) == (405, b"405 method not allowed")


def test_other_routes(server):
    assert ask(server, "HEAD", "/") == (200, b"")
    assert ask(server, "GET", "/") == (200, b"Ollama is running")
    assert ask(server, "GET", "/api/version") == (200, b'{"version":"0.32.15"}\n')
    assert ask(server, "GET", "/api/tags") == (200, b'{"models":[]}\n')
    assert ask(server, "GET", "/api/nothing") == (404, b"404 page not found")
    assert ask(server, "GET", "/api/version", host="evil.example") == (403, b"")
    assert ask(server, "POST", "/api/show", b"{}") == (400, b'{"error":"model is required"}\n')
    assert ask(server, "POST", "/api/show", b'{"model":"x"}') == (404, b'{"error":"model \'x:latest\' not found"}\n')


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "missing request body"),
        (b'{"model":', "unexpected EOF"),
        (b'{"model":"x"}', "neither 'from' or 'files' was specified"),
        (b'{"model":"x","files":{}}', "unknown type"),
        (b'{"model":"a b","files":{"x.gguf":"sha256:1"}}', "invalid model name"),
        (b'{"files":{"x.gguf":"sha256:1"}}', "invalid model name"),
        (b'{"model":"x","files":{"/x.gguf":"sha256:1"}}', "file path must be relative"),
        (b'{"model":"x","files":{"../x.gguf":"sha256:1"}}', "file path must be relative"),
        (b'{"model":"x","files":{"x.gguf":""}}', BAD),
    ],
)
def test_what_is_refused_before_the_first_line_has_its_own_status(server, body, error):
    status, answer = ask(server, "POST", "/api/create", body)
    assert (status, json.loads(answer)) == (400, {"error": error})


def test_errors_after_the_first_line_are_in_an_answer_of_status_200(server, v3):
    data = v3.read_bytes()
    rows = {
        "sha256:1": BAD,
        sent(server, b"no GGUF at all"): "supplied file was not in GGUF format",
        sent(server, data[:4]): "EOF",
        sent(server, data[:1001]): "unexpected EOF",
    }
    for digest, error in rows.items():
        assert create(server, model="x", files={"x.gguf": digest}) == (
            200,
            [{"status": "parsing GGUF"}, {"error": error}],
        )
    status, lines = create(server, model="x", files={"x.gguf": f"sha256:{'0' * 64}"})
    assert status == 200
    assert lines[-1]["error"].endswith("no such file or directory")
    status, lines = create(server, model="x", files={"x.gguf": sent(server, data[:-40])})
    assert "exceeds file size" in lines[-1]["error"]
    whole = {"x.gguf": sent(server, data)}
    for also, error in (
        ({"template": "{{ .Prompt"}, "template error: template: :1: unclosed action"),
        (
            {"quantize": "q5_k_m"},
            "unsupported quantization type Q5_K_M - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0",
        ),
    ):
        status, lines = create(server, model="x", files=whole, **also)
        assert (status, lines[-1]) == (200, {"error": error})
    assert create(server, model="x", files={"x.gguf": sent(server, b"none")}, stream=False) == (
        400,
        [{"error": "supplied file was not in GGUF format"}],
    )


def test_a_quantized_file_is_not_quantized_again(server, checkpoint, tmp_path):
    path = deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "q.gguf", type="q8_0").files[0].path
    _, lines = create(server, model="x", files={"x.gguf": sent(server, path.read_bytes())}, quantize="q4_k_m")
    assert lines[-1] == {"error": "quantization is only supported for F16, BF16 and F32 models"}


def test_a_text_model_is_written_anew_and_one_that_sees_is_not(server, checkpoint, tmp_path, v3):
    ocr = deepgguf.convert(checkpoint("ocr"), tmp_path / "ocr.gguf").files[0].path
    for name, path in (("v3", v3), ("ocr", ocr)):
        _, lines = create(server, model=name, files={path.name: sent(server, path.read_bytes())})
        assert lines[-1] == {"status": "success"}
        same = model_digest(server.models.root, name) == sha256(path.read_bytes()).hexdigest()
        assert same is (name == "ocr")


def test_a_lone_shard_and_odd_names_are_refused(server, checkpoint, tmp_path):
    report = deepgguf.convert(checkpoint("v3-bf16"), tmp_path / "s.gguf", split_max_tensors=20)
    first, *others = [file.path for file in report.files]
    digests = {path.name: sent(server, path.read_bytes()) for path in (first, *others)}
    _, lines = create(server, model="x", files={first.name: digests[first.name]})
    assert lines[-1] == {"error": f'split GGUF "{first.name}" has 1 shards, expected {len(digests)}'}
    _, lines = create(server, model="x", files={"a.gguf": digests[first.name]})
    assert lines[-1] == {"error": 'split GGUF "a.gguf" must use llama.cpp split filename pattern'}
    _, lines = create(server, model="x", files=digests)
    assert lines[-1] == {"status": "success"}


def test_a_model_is_listed_shown_copied_replaced_and_deleted(server, v3):
    files = {"v3.gguf": sent(server, v3.read_bytes())}
    for name in ("Model", "mODEL"):
        assert create(server, model=name, files=files)[1][-1] == {"status": "success"}
    assert ask(server, "POST", "/api/copy", b'{"source":"model","destination":"other:1"}') == (200, b"")
    listed = json.loads(ask(server, "GET", "/api/tags")[1])["models"]
    assert sorted(model["name"] for model in listed) == ["Model:latest", "other:1"]
    shown = json.loads(ask(server, "POST", "/api/show", b'{"model":"model"}')[1])
    assert shown["details"] == {
        "format": "gguf",
        "family": "deepseek2",
        "families": ["deepseek2"],
        "parameter_size": "3.81M",
        "quantization_level": "F16",
        "parent_model": "",
    }
    assert ask(server, "DELETE", "/api/delete", b'{"model":"model"}') == (200, b"")
    assert ask(server, "DELETE", "/api/delete", b'{"model":"model"}')[0] == 404
    assert ask(server, "POST", "/api/show", b'{"model":"other:1"}')[0] == 200
