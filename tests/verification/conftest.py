from collections.abc import Callable
from pathlib import Path

import pytest

import deepgguf
from planting import convert, copy_of


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Callable[[str], Path]:
    """The sample checkpoint of a kind, made once."""
    folder = tmp_path_factory.mktemp("samples")

    def made(kind: str) -> Path:
        if not (folder / kind).exists():
            deepgguf.sample(kind, folder / kind, shards=2, scatter=True)
        return folder / kind

    return made


@pytest.fixture
def converted(sample, tmp_path, tmp_path_factory) -> Callable[..., Path]:
    """A conversion of a sample that may be damaged; the conversion itself is made once."""

    def copied(kind: str, target: str = "llama.cpp", type: str = "auto", manifest: bool = False) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"{kind}-{target}-{type}-{manifest}"
        file = folder / "model.gguf"
        if not folder.exists():
            folder.mkdir()
            convert(sample(kind), file, target, type, manifest=manifest)
        return copy_of(file, tmp_path)

    return copied
