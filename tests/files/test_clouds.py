import subprocess
import sys
from pathlib import Path

import pytest
from conformance import Conformance

import deepgguf
from cloud_server import BUCKET, cloud_server
from deepgguf.cli import main
from deepgguf.errors import CheckpointError, OutputError, UsageError
from deepgguf.files import clouds
from deepgguf.files.clouds import CloudFiles
from deepgguf.files.find import find_file, find_files


@pytest.fixture(scope="module", autouse=True)
def cloud():
    with cloud_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(clouds, "_FIRST_PAUSE", 0)
    monkeypatch.setattr(clouds, "_RETRIES", {"max_retries": 0})


class TestS3(Conformance):
    @pytest.fixture(autouse=True)
    def place(self, cloud, request):
        self.cloud, self.prefix = cloud, f"conformance/{abs(hash(request.node.name))}"

    def files(self, folder, contents):
        for name, content in contents.items():
            self.cloud.put(f"{self.prefix}/{name}", content)
        self.cloud.put(f"{self.prefix}/", b"")  # the console's mark of a folder
        self.cloud.put(f"{self.prefix}/below/it", b"")
        return CloudFiles(f"s3://{BUCKET}/{self.prefix}/")

    def change(self, files, name, content):
        self.cloud.put(f"{self.prefix}/{name}", content)


class TestGoogle(TestS3):
    """Google's XML API lists and reads objects as S3 does."""

    @pytest.fixture(autouse=True)
    def endpoint(self, cloud, monkeypatch):
        monkeypatch.setenv("GOOGLE_BASE_URL", cloud.url)

    def files(self, folder, contents):
        super().files(folder, contents)
        return CloudFiles(f"gs://{BUCKET}/{self.prefix}/")


@pytest.mark.parametrize("name", ["v3-fp8", "v2-lite", "ocr"])
@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
def test_a_checkpoint_in_a_bucket_makes_the_files_of_the_folder(cloud, checkpoint, tmp_path, name, target):
    address = cloud.put_folder(checkpoint(name), name)
    for source, out in ((checkpoint(name), tmp_path / "folder"), (address, tmp_path / "bucket")):
        out.mkdir()
        report = deepgguf.convert(source, out / "model.gguf", target=target, manifest=False)
    assert [file.path.name for file in report.files] == sorted(path.name for path in (tmp_path / "folder").iterdir())
    for file in report.files:
        assert file.path.read_bytes() == (tmp_path / "folder" / file.path.name).read_bytes()


def test_a_file_is_verified_against_a_bucket(cloud, checkpoint, tmp_path):
    address = cloud.put_folder(checkpoint("v3-fp8"), "verified")
    deepgguf.convert(address, tmp_path / "x.gguf", type="q8_0")
    assert deepgguf.verify(tmp_path / "x.gguf", address, remake=True).differences == ()
