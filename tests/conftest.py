"""The sample checkpoints, each made once per session."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from deepgguf.api import sample as make_sample
from deepgguf.samples.kimi_configs import KINDS as KIMI_KINDS
from deepgguf.samples.ocr_family_configs import KINDS as OCR_KINDS

Checkpoint = Callable[[str], Path]

# Tests send signals, and a caller in the background (nohup, a shell's &) may have had them ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

os.environ["HF_HUB_OFFLINE"] = (
    "1"  # no test asks the Hub itself; some have a server of their own that speaks as it does
)

settings.register_profile("any machine", deadline=None)  # no test measures time
settings.load_profile("any machine")

# The arguments with which the goldens' checkpoints were made.
SAMPLES = {
    "v3-bf16": ("v3", {"shards": 2}),
    "v3-fp8": ("v3-fp8", {"shards": 3, "scatter": True}),
    "v3-tied": ("v3-tied", {}),
    "v2-lite": ("v2-lite", {}),
    "ocr": ("ocr", {"shards": 2}),
    "v32-fp8": ("v32", {"shards": 3, "scatter": True}),
    "v32-bf16": ("v32-bf16", {"shards": 2}),
    "v4": ("v4", {"shards": 4, "scatter": True}),
    "v4-dspark": ("v4-dspark", {"shards": 3}),
    "v4-base": ("v4-base", {"shards": 3, "scatter": True}),
    "v4-bf16": ("v4-bf16", {"shards": 2}),
    "v4-hf": ("v4-hf", {}),
    "v4-vision": ("v4-vision", {"shards": 3}),
    **{kind: (kind, {"shards": 3, "scatter": True}) for kind in (*OCR_KINDS, *KIMI_KINDS)},
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The folder of a sample checkpoint, by its golden's name, for example `checkpoint("v3-fp8")`."""
    made: dict[str, Path] = {}
    parent = tmp_path_factory.mktemp("checkpoints")

    def folder(name: str) -> Path:
        if name not in made:
            kind, choices = SAMPLES[name]
            made[name] = make_sample(kind, parent / name, **choices).folder
        return made[name]

    return folder
