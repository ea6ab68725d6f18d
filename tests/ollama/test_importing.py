"""Files that are there already: one, a model and its mmproj, a split set, which is joined."""

import shutil
from hashlib import sha256
from pathlib import Path

import gguf
import numpy as np
import pytest
from stores import check_whole, files_of, manifest_of, model_digest

import deepgguf
from deepgguf.formats.gguf.decode import read_header
from deepgguf.run.disk import Disk


@pytest.fixture
def whole(checkpoint, tmp_path) -> Path:
    return deepgguf.convert(checkpoint("v2-lite"), tmp_path / "v2.gguf").files[0].path


@pytest.fixture
def shards(checkpoint, tmp_path) -> list[Path]:
    report = deepgguf.convert(checkpoint("v2-lite"), tmp_path / "split.gguf", split_max_tensors=20)
    return [file.path for file in report.files]


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_one_file_is_copied_into_the_store(server, whole):
    done = []
    report = deepgguf.import_to_ollama([whole], "v2", progress=done.append)
    assert report.sha256 == {"v2.gguf": digest(whole)}
    assert (report.way, report.conversion, sum(done)) == ("store", None, whole.stat().st_size)
    assert (server.models.root / "blobs" / f"sha256-{digest(whole)}").read_bytes() == whole.read_bytes()
    check_whole(server.models.root)


@pytest.mark.parametrize("given", [[0], [2, 1], [0, 1, 2]])
def test_a_split_set_becomes_the_file_that_it_was_cut_from(server, shards, whole, given):
    report = deepgguf.import_to_ollama([shards[number] for number in given], "v2")
    assert report.sha256 == {"split.gguf": digest(whole)}
    assert model_digest(server.models.root, "v2") == digest(whole)
    check_whole(server.models.root)


def test_a_split_set_of_another_alignment_becomes_a_file_of_the_usual_one(server, tmp_path):
    for number in range(2):
        writer = gguf.GGUFWriter(tmp_path / f"wide-0000{number + 1}-of-00002.gguf", "deepseek2")
        writer.add_custom_alignment(64)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", 4)
        for name in ("a", "b"):
            writer.add_tensor(f"{name}{number}", np.full(8, number, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    report = deepgguf.import_to_ollama([tmp_path / "wide-00001-of-00002.gguf"], "wide")
    blob = server.models.root / "blobs" / f"sha256-{report.sha256['wide.gguf']}"
    assert [t.offset for t in read_header(blob).tensors] == [0, 32, 64, 96]
    assert [t.data.tolist() for t in gguf.GGUFReader(blob).tensors] == [[0.0] * 8] * 2 + [[1.0] * 8] * 2


def test_a_split_set_is_sent_file_by_file(remote, shards):
    report = deepgguf.import_to_ollama(shards, "v2")
    assert report.sha256 == {path.name: digest(path) for path in shards}
    assert len(manifest_of(remote.models.root, "v2")["layers"]) == 2
    check_whole(remote.models.root)


@pytest.mark.parametrize("place", ["server", "remote"])
def test_a_model_comes_with_its_mmproj(request, checkpoint, tmp_path, place):
    server = request.getfixturevalue(place)
    deepgguf.convert(checkpoint("ocr"), tmp_path / "o.gguf", target="llama.cpp")
    deepgguf.import_to_ollama([tmp_path / "o.gguf", tmp_path / "mmproj-o.gguf"], "ocr")
    kinds = [layer["mediaType"].rpartition(".")[2] for layer in manifest_of(server.models.root, "ocr")["layers"]]
    assert kinds == ["projector", "model", "template", "params"]


def test_what_an_interrupted_import_wrote_is_not_written_again(server, whole, monkeypatch):
    def interrupt(nbytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deepgguf.import_to_ollama([whole], "v2", progress=interrupt)
    (part,) = server.models.root.rglob("*.part")
    before, offsets, write = part.stat().st_ino, [], Disk.write

    def noted(disk, fd, path, data, offset):
        if path == part:
            offsets.append(offset)
        write(disk, fd, path, data, offset)

    monkeypatch.setattr(Disk, "write", noted)
    deepgguf.import_to_ollama([whole], "v2")
    assert offsets
    assert 0 not in offsets
    assert (server.models.root / "blobs" / f"sha256-{digest(whole)}").stat().st_ino == before
    check_whole(server.models.root)


def test_what_was_left_of_another_file_does_not_get_into_this_one(server, whole):
    staging = server.models.root / "deepgguf/registry.ollama.ai/library/v2/latest"
    staging.mkdir(parents=True)
    (staging / "v2.gguf.part").write_bytes(b"x" * (whole.stat().st_size + 99))
    deepgguf.import_to_ollama([whole], "v2")
    assert model_digest(server.models.root, "v2") == digest(whole)
    check_whole(server.models.root)


def test_an_existing_model_is_replaced_only_if_asked(server, whole, shards):
    deepgguf.import_to_ollama([whole], "v2")
    with pytest.raises(deepgguf.UsageError, match="the model V2: exists in Ollama"):
        deepgguf.import_to_ollama(shards, "V2")
    deepgguf.import_to_ollama(shards, "V2", overwrite=True)
    check_whole(server.models.root)


def test_only_one_model_is_taken(models, checkpoint, tmp_path, whole):
    deepgguf.convert(checkpoint("ocr"), tmp_path / "o.gguf", target="llama.cpp")
    for files in ([whole, tmp_path / "o.gguf"], [tmp_path / "mmproj-o.gguf"], []):
        with pytest.raises(deepgguf.UsageError, match="models and . mmproj files are given"):
            deepgguf.import_to_ollama(files, "x")
    assert files_of(models) == {}


def test_too_little_room_is_noticed_before_the_work(models, whole, monkeypatch):
    usage = shutil.disk_usage(models)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(deepgguf.OutputError, match="bytes are needed, 1,000 are free"):
        deepgguf.import_to_ollama([whole], "v2")
    assert files_of(models) == {}


def test_a_file_that_is_no_gguf_is_refused(models, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"x" * 100)
    with pytest.raises(deepgguf.GGUFError):
        deepgguf.import_to_ollama([tmp_path / "x.gguf"], "x")
    assert files_of(models) == {}
