"""An Ollama for every test that wants one: a folder of models, and a server that stands in for the real one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ollama_server import StandIn, running


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that OLLAMA_MODELS names, and no server."""
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    for folder in ("blobs", "manifests"):
        (tmp_path / "models" / folder).mkdir(parents=True)
    return tmp_path / "models"


@pytest.fixture
def server(models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The server of that store."""
    with running(models) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A server whose store nobody else can write to, as far as the client knows."""
    with running(tmp_path / "theirs") as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "nowhere"))
        yield server
