import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conformance import CONTENTS, Conformance

import deepgguf
from deepgguf.errors import UsageError
from deepgguf.files.local import LocalFiles
from deepgguf.files.network.hub import HubFiles, open_folder
from deepgguf.files.network.patience import Patience
from web_server import COMMIT, MODEL, Web, speak_for_the_hub, web_of

QUICK = Patience(attempts=4, first=0.01, longest=0.02, asked=1, stall=1)


class TestHubFiles(Conformance):
    @pytest.fixture
    def made(self, monkeypatch, tmp_path):
        with Web(CONTENTS) as self.web:
            speak_for_the_hub(monkeypatch, self.web, tmp_path)
            with HubFiles(MODEL, COMMIT, list(CONTENTS), QUICK) as files:
                yield files

    def files(self, folder, contents):
        raise NotImplementedError  # `made` makes them

    def change(self, files, name, content):
        self.web.put(name, content)


@pytest.fixture
def web(monkeypatch, tmp_path):
    with Web(CONTENTS | {"more/a.jinja": b"A"}) as served:
        speak_for_the_hub(monkeypatch, served, tmp_path)
        yield served


def snapshot(cache: Path, names) -> Path:
    folder = cache / "models--deepseek-ai--DeepSeek-V3" / "snapshots" / COMMIT
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CONTENTS.get(name, b"A"))
    refs = folder.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    return folder


def test_a_model_that_the_cache_holds_whole_is_read_from_there(web, tmp_path):
    folder = snapshot(tmp_path, [*CONTENTS, "more/a.jinja"])
    with open_folder(f"hf:{MODEL}@main") as files:
        assert files == LocalFiles(folder)
        assert files.read(files.facts("config.json"), 0, 8).tobytes() == CONTENTS["config.json"]
    assert not any("resolve" in asked.path for asked in web.log)


def test_a_model_that_the_cache_holds_in_part_is_read_from_the_hub(web, tmp_path):
    snapshot(tmp_path, ["config.json"])
    assert isinstance(open_folder(f"hf:{MODEL}"), HubFiles)


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_offline_the_cache_is_read_and_nobody_is_asked(web, tmp_path, monkeypatch, revision):
    folder = snapshot(tmp_path, ["config.json"])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert open_folder(f"hf:{MODEL}{revision}") == LocalFiles(folder)
    with pytest.raises(
        UsageError, match="HF_HUB_OFFLINE is set, and the Hub's cache does not have it; download it first"
    ):
        open_folder("hf:deepseek-ai/DeepSeek-R1")
    assert web.log == []


def test_files_of_a_folder_below_are_listed_with_it(web):
    with open_folder(f"hf:{MODEL}") as files:
        assert "more" in files.names()
        assert files.names_in("more") == ["more/a.jinja"]
        assert files.read(files.facts("more/a.jinja"), 0, 1).tobytes() == b"A"


def test_the_commit_is_in_the_place_and_in_the_repository(web):
    with open_folder(f"hf:{MODEL}@main") as files:
        assert (files.place, files.repository) == (f"hf:{MODEL}@{COMMIT}", (MODEL, COMMIT))


@pytest.mark.parametrize("address", ["hf:", "hf:gpt2", "hf:a/b/c/d", "hf:a/b@", "hf:a b/c"])
def test_what_is_no_name_of_a_model_is_refused_with_the_form(web, address):
    with pytest.raises(UsageError, match=r"is not the name of a model; write hf:ORGANIZATION/NAME"):
        open_folder(address)


def test_a_plan_takes_at_most_two_requests_for_a_shard(checkpoint, monkeypatch):
    with web_of(checkpoint("v3-fp8")) as web:
        speak_for_the_hub(monkeypatch, web, "/nonexistent")
        deepgguf.plan(f"hf:{MODEL}")
        asked = Counter(urlsplit(asked.path).path.rpartition("/")[2] for asked in web.log)
    shards = {name: times for name, times in asked.items() if name.endswith(".safetensors")}
    assert len(shards) == 3
    assert set(shards.values()) == {2}


def test_without_huggingface_hub_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        UsageError, match=r"needs huggingface_hub, which is not installed; `pip install 'deepgguf\[hub\]'`"
    ):
        open_folder(f"hf:{MODEL}")
