import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from azure_server import CONTAINER, azure_server
from conformance import Conformance

import deepgguf
from cloud_server import BUCKET, cloud_server
from deepgguf.cli import main
from deepgguf.errors import OutputError, UsageError
from deepgguf.files.find import find_file, find_files
from deepgguf.files.network import clouds
from deepgguf.files.network.clouds import CloudFiles
from deepgguf.files.network.patience import Patience
from faulty_proxy import Fault, proxy_before

PATIENCE = Patience(attempts=5, first=0.0, stall=5.0)


@pytest.fixture(scope="module", autouse=True)
def cloud():
    with cloud_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(clouds, "PATIENCE", PATIENCE)


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
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")

    def files(self, folder, contents):
        super().files(folder, contents)
        return CloudFiles(f"gs://{BUCKET}/{self.prefix}/")


class TestAzure(Conformance):
    @pytest.fixture(autouse=True)
    def service(self, monkeypatch):
        with azure_server() as azure:
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "who")
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", azure.url)
            monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
            self.azure = azure
            yield

    def files(self, folder, contents):
        self.azure.blobs |= {f"a/v3/{name}": content for name, content in contents.items()} | {"a/v3/below/it": b""}
        return CloudFiles(f"az://{CONTAINER}/a/v3/")

    def change(self, files, name, content):
        self.azure.blobs[f"a/v3/{name}"] = content

    def test_a_container_that_is_not_there_is_named(self):
        with pytest.raises(UsageError, match="^az://nowhere/x: there is no bucket nowhere"):
            CloudFiles("az://nowhere/x").names()


@pytest.mark.parametrize("name", ["v3-fp8", "v2-lite", "ocr"])
@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
def test_a_checkpoint_in_a_bucket_makes_the_files_of_the_folder(cloud, checkpoint, tmp_path, name, target):
    address = cloud.put_folder(checkpoint(name), name)
    for source, out in ((checkpoint(name), tmp_path / "folder"), (address, tmp_path / "bucket")):
        out.mkdir()
        report = deepgguf.convert(source, out / "model.gguf", target=target, manifest=False)
    assert {file.path.name for file in report.files} == {path.name for path in (tmp_path / "folder").iterdir()}
    for file in report.files:
        assert file.path.read_bytes() == (tmp_path / "folder" / file.path.name).read_bytes()


def test_a_file_is_verified_against_a_bucket(cloud, checkpoint, tmp_path):
    address = cloud.put_folder(checkpoint("v3-fp8"), "verified")
    deepgguf.convert(address, tmp_path / "x.gguf", type="q8_0")
    assert deepgguf.verify(tmp_path / "x.gguf", address, remake=True).differences == ()


@pytest.fixture
def proxy(cloud):
    with proxy_before(cloud) as proxy:
        yield proxy


CONTENT = bytes(range(256)) * 8192
"""2 MiB"""


@pytest.fixture
def shard(cloud):
    """The files of a folder with one object, `x`, of 2 MiB."""
    cloud.put("faults/x", CONTENT)
    return CloudFiles(f"s3://{BUCKET}/faults")


def whole(files: CloudFiles) -> bytes:
    return files.read(files.facts("x"), 0, len(CONTENT)).tobytes()


def test_a_range_that_breaks_off_is_resumed_where_it_did(proxy, shard):
    proxy.faults = lambda request: Fault(cut=1_500_000) if request.method == "GET" and request.number == 2 else None
    assert whole(shard) == CONTENT
    assert [request.method for request in proxy.requests] == ["HEAD", "GET", "GET"]


@pytest.mark.parametrize("fault", [Fault(500, "InternalError"), Fault(503, "SlowDown"), Fault(429, "TooManyRequests")])
def test_a_server_that_fails_for_a_while_is_asked_again(proxy, shard, fault):
    proxy.faults = lambda request: fault if 1 < request.number <= PATIENCE.attempts else None
    assert whole(shard) == CONTENT


@pytest.mark.parametrize("fault", [Fault(500, "InternalError"), Fault(503, "SlowDown"), Fault(cut=0), Fault(lost=True)])
def test_a_server_that_always_fails_is_asked_five_times(proxy, shard, fault):
    file = shard.facts("x")
    proxy.faults = lambda request: fault
    with pytest.raises(
        OutputError, match=r"^x: cannot be read: .* \(5 times in a row\); check the network, then run again"
    ):
        shard.read(file, 0, len(CONTENT))
    assert len(proxy.requests) == 1 + PATIENCE.attempts


def test_a_refusal_is_not_asked_again_and_says_whose_credentials(proxy, shard):
    proxy.faults = lambda request: Fault(403, "AccessDenied")
    with pytest.raises(OutputError, match=r"^x: s3://models/faults may not be read: .*; look at the credentials: AWS_"):
        shard.facts("x")
    assert len(proxy.requests) == 1


def test_an_object_that_is_replaced_between_two_requests_is_noticed(cloud, proxy, shard):
    def replaced(request):
        if request.number == 2:
            cloud.put("faults/x", CONTENT[::-1])
            return Fault(cut=0)
        return None

    proxy.faults = replaced
    with pytest.raises(deepgguf.ChangedError, match="^x: changed or truncated while it was read"):
        whole(shard)


def test_a_plan_reads_a_header_in_two_requests(cloud, checkpoint, proxy):
    address = cloud.put_folder(checkpoint("v3-fp8"), "headers")
    deepgguf.plan(address)
    shards = [request.method for request in proxy.requests if request.path.endswith("safetensors")]
    assert sorted(shards) == ["GET", "GET", "GET", "HEAD", "HEAD", "HEAD"]


def test_a_conversion_that_loses_its_server_ends_with_status_4_and_is_resumed(
    cloud, checkpoint, proxy, tmp_path, capsys
):
    address = cloud.put_folder(checkpoint("v3-fp8"), "lost")
    deepgguf.convert(address, tmp_path / "whole.gguf")
    proxy.requests.clear()
    deepgguf.plan(address)
    planned = len(proxy.requests)
    proxy.faults = lambda r: Fault(500, "InternalError") if r.number > 2 * planned + 1 else None
    command = ["convert", address, "-o", str(tmp_path / "lost.gguf"), "--jobs", "1"]
    assert main(command) == 4
    assert "--resume" in capsys.readouterr().err
    proxy.faults = lambda request: None
    assert main([*command, "--resume"]) == 0
    assert (tmp_path / "lost.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_without_an_endpoint_that_answers_the_error_says_so(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(OutputError, match=r"^x: cannot be read: .*; check the network"):
        CloudFiles(f"s3://{BUCKET}/faults").facts("x")


def test_a_bucket_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="^s3://nowhere/x: there is no bucket nowhere; give another address"):
        CloudFiles("s3://nowhere/x").names()


def test_an_address_below_which_nothing_lies_says_how_to_look():
    with pytest.raises(UsageError, match=r"^s3://models/none: no object lies below .*`aws s3 ls s3://models/none/`"):
        find_files(f"s3://{BUCKET}/none/").names()


@pytest.mark.parametrize("address", ["s3://", "gs:///x", "az://", "s3://a b/x", "s3://ü/x", "az://../x"])
def test_an_address_without_a_bucket_is_refused(address):
    with pytest.raises(UsageError, match="names no bucket; give s3://BUCKET/PREFIX/"):
        find_files(address)


@pytest.mark.parametrize("key", ["a//b", "../b", "a/./b", "\x01x", "a\nb"])
def test_a_key_that_cannot_be_asked_for_is_refused(key):
    with pytest.raises(UsageError, match="; give the address as the store lists it"):
        find_files(f"s3://models/{key}/")


def test_a_public_bucket_is_read_without_credentials(cloud, monkeypatch):
    cloud.put("public/x", b"12345")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    files = CloudFiles(f"s3://{BUCKET}/public")
    assert files.read(files.facts("x"), 1, 3).tobytes() == b"234"


def test_credentials_of_a_profile_are_used(cloud, proxy, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text("[mine]\naws_access_key_id = PROFILED\naws_secret_access_key = s\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    cloud.put("profile/x", b"12345")
    assert CloudFiles(f"s3://{BUCKET}/profile").facts("x").size == 5


def test_a_single_object_is_found_by_its_address(cloud):
    cloud.put("single/imatrix.gguf", b"12345")
    files, name = find_file(f"s3://{BUCKET}/single/imatrix.gguf", "an importance matrix")
    assert (files.place, name, files.facts(name).size) == (f"s3://{BUCKET}/single", "imatrix.gguf", 5)


def test_local_folders_need_no_package_of_a_cloud(checkpoint, tmp_path):
    script = (
        "import sys\n"
        "sys.modules['obstore'] = sys.modules['botocore'] = sys.modules['boto3'] = None\n"
        "import deepgguf\n"
        f"deepgguf.convert({str(checkpoint('v2-lite'))!r}, {str(tmp_path / 'x.gguf')!r})\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert Path(tmp_path / "x.gguf").exists()


def test_without_its_packages_an_address_says_what_to_install(monkeypatch):
    monkeypatch.setattr(clouds, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"needs obstore and botocore; `pip install 'deepgguf\[cloud\]'` installs that"
    ):
        find_files(f"s3://{BUCKET}/x")


@pytest.mark.parametrize(
    ("address", "name", "value"),
    [
        ("s3://models/x", "AWS_PROFILE", "none"),
        ("az://models/x", "AZURE_STORAGE_ACCOUNT_KEY", "not base64"),
    ],
)
def test_what_cannot_be_connected_to_is_wrong_usage(monkeypatch, address, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=rf"^{address}: cannot be connected to: .*; look at the credentials: A"):
        CloudFiles(address).names()


@pytest.mark.parametrize("value", ["not an address", "localhost:9000", "http://", ""])
def test_an_endpoint_that_is_no_address_is_wrong_usage(monkeypatch, value):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", value)
    with pytest.raises(
        UsageError, match=r"^AWS_ENDPOINT_URL_S3: .* is not an address; set it to one such as https://host"
    ):
        CloudFiles("s3://models/x").names()


def test_what_is_kept_is_read_once(proxy, shard, tmp_path):
    shard.keep_in(tmp_path)
    assert whole(shard) == CONTENT
    shard.close()
    assert whole(pickle.loads(pickle.dumps(shard))) == CONTENT
    assert [request.method for request in proxy.requests] == ["HEAD", "GET", "HEAD"]
