"""What was read of distant files and kept: nobody is asked for it again, and it is the Hub's cache that it looks like."""

import pickle

import pytest
from conformance import CONTENTS, LARGE, SHARD, Conformance

import deepgguf
from deepgguf.errors import ChangedError, OutputError, UsageError
from deepgguf.files.local import LocalFiles
from deepgguf.files.network.http import HttpFiles
from deepgguf.files.network.hub import HubFiles
from web_server import COMMIT, MODEL, Web, speak_for_the_hub, web_of

MODEL_FOLDER = "models--deepseek-ai--DeepSeek-V3"


class TestKeptFiles(Conformance):
    @pytest.fixture
    def made(self, monkeypatch, tmp_path):
        with Web(CONTENTS) as self.web:
            speak_for_the_hub(monkeypatch, self.web, tmp_path / "none")
            with HubFiles(MODEL, COMMIT, list(CONTENTS)) as files:
                files.keep_in(tmp_path / "cache")
                yield files

    def files(self, folder, contents):
        raise NotImplementedError  # `made` makes them

    def change(self, files, name, content):
        self.web.put(name, content)

    @pytest.mark.parametrize("content", [LARGE[:-1], LARGE + b"1", LARGE[::-1]])
    def test_a_changed_file_is_noticed(self, made, content):
        """And what was kept of it is still what it was."""
        before = made.facts(SHARD)
        made.read(before, 0, 10)
        self.change(made, SHARD, content)
        with pytest.raises(ChangedError, match="changed or truncated while it was read"):
            made.check_unchanged([before])
        assert made.read(before, 0, 10).tobytes() == LARGE[:10]


@pytest.fixture
def web(monkeypatch):
    with Web(CONTENTS) as served:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.host())
        yield served


def kept(cache, web, kind="hf"):
    files = HubFiles(MODEL, COMMIT, list(CONTENTS)) if kind == "hf" else HttpFiles(web.plain)
    files.keep_in(cache)
    return files


@pytest.mark.parametrize("kind", ["hf", "http"])
def test_what_was_read_is_not_asked_for_again(web, tmp_path, kind):
    for _ in range(2):
        with kept(tmp_path, web, kind) as files:
            assert files.read(files.facts(SHARD), 1000, 290_000).tobytes() == LARGE[1000:291_000]
            assert files.read(files.facts(SHARD), 2000, 5).tobytes() == LARGE[2000:2005]
    assert len(web.ranges()) == 1


def test_a_file_of_which_every_byte_was_read_is_in_the_snapshot(web, tmp_path):
    with kept(tmp_path, web) as files:
        files.read(files.facts(SHARD), 0, 150_000)
        snapshot = tmp_path / MODEL_FOLDER / "snapshots" / COMMIT
        assert not (snapshot / SHARD).exists()
        files.read(files.facts(SHARD), 0, 300_000)
    assert (snapshot / SHARD).read_bytes() == LARGE
    assert (snapshot / SHARD).readlink().parts[:3] == ("..", "..", "blobs")
    assert sorted(path.name for path in (tmp_path / MODEL_FOLDER / "blobs").iterdir()) == [web.files[SHARD].tag]


def test_a_list_of_ranges_that_is_damaged_counts_for_nothing(web, tmp_path):
    with kept(tmp_path, web) as files:
        files.read(files.facts(SHARD), 0, 299_000)
    (noted,) = tmp_path.rglob("*.ranges")
    noted.write_text("0 400000\n")
    with kept(tmp_path, web) as files:
        assert files.read(files.facts(SHARD), 0, 300_000).tobytes() == LARGE


def test_of_two_runs_with_one_cache_the_first_keeps_and_both_read_what_is_there(web, tmp_path):
    with kept(tmp_path, web) as first, kept(tmp_path, web) as second:
        reads = [(first, 0, 1000), (second, 1000, 1000), (first, 0, 300_000), (second, 5000, 10), (second, 1000, 500)]
        for files, offset, nbytes in reads:
            assert files.read(files.facts(SHARD), offset, nbytes).tobytes() == LARGE[offset : offset + nbytes]
    web.log.clear()
    with kept(tmp_path, web) as third:
        assert third.read(third.facts(SHARD), 0, 300_000).tobytes() == LARGE
    assert web.ranges() == []


def test_another_version_of_a_file_is_kept_apart(web, tmp_path):
    for content in (LARGE, LARGE[::-1]):
        web.put(SHARD, content)
        with kept(tmp_path, web, "http") as files:
            assert files.read(files.facts(SHARD), 0, 300_000).tobytes() == content


def test_sent_elsewhere_it_keeps_there(web, tmp_path):
    with pickle.loads(pickle.dumps(kept(tmp_path, web))) as files:
        files.read(files.facts(SHARD), 0, 300_000)
    assert list(tmp_path.rglob(SHARD))


def test_a_cache_that_cannot_be_written_ends_the_run(web, tmp_path):
    (tmp_path / "file").touch()
    full = pytest.raises(
        OutputError, match="cannot be written: Not a directory; free space there, or leave out `cache`"
    )
    with kept(tmp_path / "file", web) as files, full:
        files.read(files.facts(SHARD), 0, 10)


def test_a_conversion_is_repeated_without_reading_weights_again(checkpoint, monkeypatch, tmp_path):
    cache = tmp_path / "cache"
    with web_of(checkpoint("v2-lite")) as web:
        speak_for_the_hub(monkeypatch, web, tmp_path / "none")
        first = deepgguf.convert(f"hf:{MODEL}", tmp_path / "first.gguf", cache=cache).files[0].path
        web.log.clear()
        second = deepgguf.convert(f"hf:{MODEL}", tmp_path / "second.gguf", cache=cache).files[0].path
        assert web.ranges() == []
        assert deepgguf.verify(second, f"hf:{MODEL}", cache=cache).differences == ()
        assert web.ranges() == []
    assert first.read_bytes() == second.read_bytes()
    assert LocalFiles(cache / MODEL_FOLDER).repository == (MODEL, COMMIT)
    third = deepgguf.convert(cache / MODEL_FOLDER, tmp_path / "third.gguf").files[0].path
    assert third.read_bytes() == first.read_bytes()


def test_a_folder_needs_no_cache(checkpoint, tmp_path):
    with pytest.raises(UsageError, match="`cache` has no meaning for .*, which is on this machine; leave it out"):
        deepgguf.plan(checkpoint("v2-lite"), cache=tmp_path)
