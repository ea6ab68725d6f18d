"""The sample checkpoints, each made once per session."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from deepgguf import convert, patch
from deepgguf import sample as make_sample
from golden_samples import GROUP_KEYS, SAMPLES, Checkpoint
from ray_cluster import Nodes, ray_cluster

# No test asks the Hub itself; some have a server of their own that speaks as it does.
os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("any machine", deadline=None)  # no test measures time
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests on Ray come first: of `-n N` processes the first gets all of them, and starts the only cluster."""
    items.sort(key=lambda item: "ray_nodes" not in getattr(item, "fixturenames", ()))


def pytest_runtest_setup() -> None:
    """Signals do what they do in a new Python, for tests send some.

    A caller in the background (nohup, a shell's &) may have had them ignored, and commands that another test called in
    this process leave them to end the process at once.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


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


@pytest.fixture(scope="session")
def ollamas(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """V3 as Ollama 0.30 converts it: without keys for groups of experts (tests/test_patch.py compares it)."""
    folder = tmp_path_factory.mktemp("ollamas")
    convert(checkpoint("v3-bf16"), folder / "all.gguf", target="ollama", jobs=2)
    patch(folder / "all.gguf", folder / "v3.gguf", remove_key=GROUP_KEYS)
    return folder / "v3.gguf"


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[Nodes]:
    """Three nodes of a Ray cluster."""
    with ray_cluster() as nodes:
        yield nodes
