from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from deepgguf.samples.make import make_sample

# Name of a sample checkpoint -> kind, shards, whether scales are parted from their weights.
SAMPLES = {
    "v3-bf16": ("v3", 2, False),
    "v3-fp8": ("v3-fp8", 3, True),
    "v3-tied": ("v3-tied", 1, False),
    "v2-lite": ("v2-lite", 1, False),
    "ocr": ("ocr", 2, False),
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`checkpoint("v3-bf16")`: the folder of that sample checkpoint, made once."""
    folder = tmp_path_factory.mktemp("checkpoints")

    @cache
    def make(name: str) -> Path:
        kind, shards, scatter = SAMPLES[name]
        return make_sample(kind, folder / name, shards=shards, scatter=scatter).folder

    return make
