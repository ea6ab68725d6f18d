"""What is read over a network makes the same bytes, of every sample that has goldens."""

import shutil

import pytest

import deepgguf
from golden import describe_written, read_golden
from golden_samples import Checkpoint
from web_server import COMMIT, MODEL, speak_for_the_hub, web_of

SAMPLES = ("v3-fp8", "v2-lite", "ocr")


@pytest.fixture(params=SAMPLES)
def served(request, checkpoint: Checkpoint, monkeypatch, tmp_path):
    with web_of(checkpoint(request.param), folder=request.param) as web:
        speak_for_the_hub(monkeypatch, web, tmp_path / "none")
        yield request.param, web, checkpoint(request.param)


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
def test_from_a_web_server_come_the_goldens_and_the_bytes_of_the_folder(served, tmp_path, target):
    name, web, folder = served
    remote = deepgguf.convert(web.plain, tmp_path / "remote.gguf", target=target, jobs=2)
    local = deepgguf.convert(folder, tmp_path / "local.gguf", target=target, jobs=2)
    assert describe_written(remote.files[0].path).by_name() == read_golden(target, name).by_name()
    for ours, theirs in zip(remote.files, local.files, strict=True):
        assert ours.path.read_bytes() == theirs.path.read_bytes()


def test_from_the_hub_come_the_goldens_and_the_bytes_of_its_cache(served, tmp_path):
    name, _, folder = served
    remote = deepgguf.convert(f"hf:{MODEL}", tmp_path / "remote.gguf", type="q4_k_m", jobs=2)
    snapshot = tmp_path / "models--deepseek-ai--DeepSeek-V3" / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    local = deepgguf.convert(snapshot, tmp_path / "local.gguf", type="q4_k_m", jobs=2)
    plain = deepgguf.convert(f"hf:{MODEL}@{COMMIT}", tmp_path / "plain.gguf", jobs=2)
    assert describe_written(plain.files[0].path).by_name() == read_golden("ollama", name).by_name()
    assert remote.files[0].path.read_bytes() == local.files[0].path.read_bytes()
    assert remote.traffic and remote.traffic.repeated == {}


def test_a_tokenizer_of_tiktoken_is_found_on_a_web_server_too(checkpoint, tmp_path):
    with web_of(checkpoint("kimi-k2-thinking"), folder="kimi-k2-thinking") as web:
        (file,) = deepgguf.convert(web.plain, tmp_path / "x.gguf", target="llama.cpp", type="source").files
    expected = read_golden("ocr2kimi", "kimi-k2-thinking-exact-q4_0")
    assert describe_written(file.path).by_name() == expected.by_name()
