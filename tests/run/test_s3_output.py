"""Output to S3: the bytes of a folder, nothing under a final name before it is whole, little sent twice."""

import json
import signal
import time
from hashlib import sha256

import numpy as np
import pytest
from s3_conversions import PART, begun, killed_when, small_parts
from test_executors import Far

import deepgguf
from cloud_server import BUCKET, cloud_server
from deepgguf.cli import main
from deepgguf.errors import CheckpointError, OutputError, UsageError
from deepgguf.run.address import S3Address, parse_output
from deepgguf.run.s3 import parts
from deepgguf.run.s3.parts import part_bytes
from faulty_proxy import Fault, proxy_before
from tiny_checkpoint import V3, stored, weights, write_checkpoint

TWICE = 4 * parts.CONNECTIONS * PART
"""The parts that were under way when a run was ended, and those that were uploaded while its journal was last written."""


@pytest.fixture(scope="module", autouse=True)
def cloud():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_PART", "_STEP"):
            patch.setattr(parts, name, getattr(parts, name))
        small_parts()
        with cloud_server() as server:
            yield server


@pytest.fixture
def proxy(cloud):
    with proxy_before(cloud) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def source(checkpoint):
    return checkpoint("v3-fp8")


@pytest.fixture(scope="module")
def local(source, tmp_path_factory):
    """What a folder gets: `local(**choices)`, by the files' names."""
    made = {}

    def files(**choices):
        key = json.dumps(choices)
        if key not in made:
            folder = tmp_path_factory.mktemp("local")
            deepgguf.convert(source, folder / "model.gguf", **choices)
            made[key] = {path.name: path.read_bytes() for path in folder.iterdir()}
        return made[key]

    return files


@pytest.fixture
def prefix(request, tmp_path):
    return f"{tmp_path.name}"


def below(cloud, prefix):
    return {key.removeprefix(f"{prefix}/"): cloud.get(key) for key in cloud.keys(f"{prefix}/")}


@pytest.mark.parametrize(
    "choices", [{}, {"type": "q4_k_m"}, {"split_max_tensors": 20}, {"jobs": 1}, {"manifest": False}]
)
def test_s3_gets_the_files_of_a_folder(cloud, source, local, prefix, choices):
    report = deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf", **choices)
    assert below(cloud, prefix) == local(**choices)
    assert [str(file.path).rpartition("/")[0] for file in report.files] == [f"s3://{BUCKET}/{prefix}"] * len(
        report.files
    )
    assert cloud.uploads(prefix) == []


def test_tasks_that_share_a_set_send_each_file_once_however_often_they_run(cloud, source, local, proxy, prefix):
    choices = {"split_max_tensors": 20}
    for part in ("2/2", "1/2", "2/2", "1/2"):
        deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf", part=part, **choices)
    assert below(cloud, prefix) == local(**choices)
    assert proxy.uploaded() == sum(len(data) for name, data in local(**choices).items() if name.endswith(".gguf"))


def test_a_checkpoint_in_a_bucket_is_converted_into_a_bucket(cloud, source, local, prefix):
    address = cloud.put_folder(source, f"{prefix}-source")
    deepgguf.convert(address, f"s3://{BUCKET}/{prefix}/model.gguf", manifest=False)
    assert below(cloud, prefix) == local(manifest=False)


def test_the_mmproj_and_the_text_are_two_objects(cloud, checkpoint, prefix, tmp_path):
    deepgguf.convert(checkpoint("ocr"), tmp_path / "model.gguf", target="llama.cpp")
    deepgguf.convert(checkpoint("ocr"), f"s3://{BUCKET}/{prefix}/model.gguf", target="llama.cpp")
    assert below(cloud, prefix) == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_an_object_that_was_uploaded_is_shown_by_its_header_as_a_file_is(source, prefix, tmp_path):
    deepgguf.convert(source, tmp_path / "model.gguf", split_max_tensors=20)
    deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf", split_max_tensors=20)
    there, here = (
        deepgguf.inspect(f"{folder}/model-00001-of-00003.gguf") for folder in (f"s3://{BUCKET}/{prefix}", tmp_path)
    )
    assert (there.keys, there.tensors) == (here.keys, here.tensors)


def test_an_object_that_was_uploaded_is_not_verified_where_it_is(source, prefix):
    with pytest.raises(UsageError, match="verify reads the whole file, more than once; download it first"):
        deepgguf.verify(f"s3://{BUCKET}/{prefix}/model.gguf", source)


def test_nothing_is_under_the_final_name_before_every_part_is_uploaded(cloud, source, proxy, prefix):
    seen = []
    proxy.faults = lambda r: seen.append(cloud.keys(f"{prefix}/")) if r.is_part else None
    deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf")
    assert len(seen) > 10
    assert {name for names in seen for name in names} == {f"{prefix}/model.gguf.part.journal"}


def test_a_part_is_sent_once(cloud, source, local, proxy, prefix):
    deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf", jobs=4)
    assert proxy.uploaded() == len(local()["model.gguf"])


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_a_run_that_is_killed_is_resumed_to_the_same_bytes_and_sends_little_twice(
    cloud, source, local, proxy, prefix, share
):
    whole = local()["model.gguf"]
    arguments = (str(source), "-o", f"s3://{BUCKET}/{prefix}/model.gguf", "--jobs", "1")
    assert killed_when(lambda: proxy.uploaded() >= share * len(whole), *arguments)
    assert f"{prefix}/model.gguf" not in cloud.keys(prefix)
    assert begun(*arguments, "--resume").wait() == 0
    assert sha256(cloud.get(f"{prefix}/model.gguf")).digest() == sha256(whole).digest()
    assert cloud.uploads(prefix) == []
    assert set(below(cloud, prefix)) == {"model.gguf", "model.gguf.json"}
    assert proxy.uploaded() - len(whole) <= 0.02 * len(whole) + TWICE


@pytest.mark.parametrize("step", ["complete", "manifest", "journal"])
def test_a_run_that_fails_at_its_last_requests_is_resumed_without_sending_a_part(
    cloud, source, local, proxy, prefix, step
):
    steps = {
        "complete": lambda r: r.method == "POST" and "uploadId" in r.path,
        "manifest": lambda r: r.method == "PUT" and r.path.endswith(".json"),
        "journal": lambda r: r.method == "POST" and r.path.endswith("?delete") and proxy.uploaded(),
    }
    arguments = ["convert", str(source), "-o", f"s3://{BUCKET}/{prefix}/model.gguf", "--split-max-tensors", "20"]
    proxy.faults = lambda r: Fault(500, "InternalError") if steps[step](r) else None
    assert main(arguments) == 4
    sent = proxy.uploaded()
    proxy.faults = lambda r: None
    assert main([*arguments, "--resume"]) == 0
    assert below(cloud, prefix) == local(split_max_tensors=20)
    assert proxy.uploaded() == sent


def test_an_upload_that_cannot_begin_leaves_nothing(cloud, source, proxy, prefix):
    proxy.faults = lambda r: Fault(500, "InternalError") if r.path.endswith("?uploads") and r.method == "POST" else None
    with pytest.raises(OutputError, match="beginning an upload failed"):
        deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf")
    assert below(cloud, prefix) == {}


@pytest.mark.parametrize("fault", [Fault(500, "InternalError"), Fault(503, "SlowDown"), Fault(lost=True)])
def test_a_put_that_fails_ends_with_status_4_and_resume_goes_on(cloud, source, local, proxy, prefix, fault, capsys):
    address = f"s3://{BUCKET}/{prefix}/model.gguf"
    proxy.faults = lambda r: fault if r.is_part and proxy.uploaded() > 600_000 else None
    assert main(["convert", str(source), "-o", address, "--jobs", "1"]) == 4
    assert "what is uploaded stays; run again with --resume" in capsys.readouterr().err
    assert below(cloud, prefix).keys() == {"model.gguf.part.journal"}
    proxy.faults = lambda r: None
    sent = proxy.uploaded()
    assert main(["convert", str(source), "-o", address, "--resume"]) == 0
    assert below(cloud, prefix) == local()
    assert proxy.uploaded() - sent < len(local()["model.gguf"]) - 300_000


def test_a_put_that_fails_once_is_tried_again(cloud, source, local, proxy, prefix, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    failed = []
    proxy.faults = lambda r: failed.append(r) or Fault(503, "SlowDown") if r.is_part and not failed else None
    deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf")
    assert below(cloud, prefix) == local()


def test_an_answer_that_is_lost_does_not_make_the_journal_anothers(cloud, source, local, proxy, prefix, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    lost = []
    proxy.faults = lambda r: (
        lost.append(r) or Fault(lost=True) if "journal" in r.path and r.method == "PUT" and len(lost) < 2 else None
    )
    deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf")
    assert below(cloud, prefix) == local()


def test_a_bucket_that_is_not_there_is_named(source, capsys):
    assert main(["convert", str(source), "-o", "s3://nowhere/x/"]) == 2
    assert "there is no bucket nowhere; make it, or give another --output" in capsys.readouterr().err


def test_without_permission_the_error_says_what_to_look_at(source, proxy, prefix, capsys):
    proxy.faults = lambda r: Fault(403, "AccessDenied") if r.method != "GET" else None
    assert main(["convert", str(source), "-o", f"s3://{BUCKET}/{prefix}/"]) == 4
    assert "is refused: " in (said := capsys.readouterr().err)
    assert "look at the credentials" in said


def test_without_credentials_the_error_says_what_to_set(source, prefix, capsys, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert main(["convert", str(source), "-o", f"s3://{BUCKET}/{prefix}/"]) == 4
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("AWS_PROFILE", "none"), ("AWS_ENDPOINT_URL", "not an address")])
def test_what_cannot_be_connected_to_is_wrong_usage(source, prefix, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"^s3://models: cannot be connected to: .*; look at AWS_PROFILE, AWS_REGION"):
        deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/")


def test_without_a_region_a_server_of_ones_own_is_written_to(cloud, source, local, prefix, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf")
    assert below(cloud, prefix) == local()


def test_a_run_that_is_interrupted_keeps_what_it_has_made(cloud, source, local, proxy, prefix):
    arguments = (str(source), "-o", f"s3://{BUCKET}/{prefix}/model.gguf", "--jobs", "1")
    process = begun(*arguments)
    while proxy.uploaded() < 3_000_000:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    assert begun(*arguments, "--resume").wait() == 0
    assert below(cloud, prefix) == local()
    assert proxy.uploaded() - len(local()["model.gguf"]) <= TWICE


def test_workers_that_see_neither_files_nor_memory_upload_by_the_caller(cloud, source, local, prefix):
    deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf", executor=Far())
    assert below(cloud, prefix) == local()


def test_an_object_that_is_there_is_replaced_only_with_overwrite(cloud, source, local, prefix):
    address = f"s3://{BUCKET}/{prefix}/model.gguf"
    cloud.put(f"{prefix}/model.gguf", b"old")
    with pytest.raises(UsageError, match=rf"^{address}: exists; replace it with `overwrite=True`"):
        deepgguf.convert(source, address)
    assert below(cloud, prefix) == {"model.gguf": b"old"}
    deepgguf.convert(source, address, overwrite=True)
    assert below(cloud, prefix) == local()


def test_an_object_that_is_complete_is_left_by_a_run_that_resumes(cloud, source, local, proxy, prefix):
    address = f"s3://{BUCKET}/{prefix}/model.gguf"
    deepgguf.convert(source, address)
    sent = proxy.uploaded()
    again = deepgguf.convert(source, address, resume=True)
    assert ([file.found for file in again.files], again.written) == ([True], 0)
    assert (below(cloud, prefix), proxy.uploaded()) == (local(), sent)


def test_an_object_that_comes_during_the_work_is_not_replaced(cloud, source, local, proxy, prefix):
    address = f"s3://{BUCKET}/{prefix}/model.gguf"
    proxy.faults = lambda r: cloud.put(f"{prefix}/model.gguf", b"new") if r.is_part else None
    with pytest.raises(UsageError, match="exists"):
        deepgguf.convert(source, address)
    assert cloud.get(f"{prefix}/model.gguf") == b"new"
    proxy.faults = lambda r: None
    sent = proxy.uploaded()
    deepgguf.convert(source, address, resume=True, overwrite=True)
    assert below(cloud, prefix) == local()
    assert proxy.uploaded() == sent


@pytest.mark.parametrize("content", [b"{}", b"not JSON"])
def test_anothers_file_with_a_manifests_name_is_not_replaced(cloud, source, prefix, content):
    cloud.put(f"{prefix}/model.gguf.json", content)
    with pytest.raises(UsageError, match=r"model.gguf.json: is not a manifest of deepgguf"):
        deepgguf.convert(source, f"s3://{BUCKET}/{prefix}/model.gguf", overwrite=True)


@pytest.fixture
def interrupted(cloud, source, proxy, prefix):
    """The address of a file that is half uploaded."""
    address = f"s3://{BUCKET}/{prefix}/model.gguf"
    proxy.faults = lambda r: Fault(500, "InternalError") if r.is_part and proxy.uploaded() > 600_000 else None
    with pytest.raises(OutputError):
        deepgguf.convert(source, address)
    proxy.faults = lambda r: None
    return address


def test_an_upload_that_was_left_is_said_and_neither_resumed_nor_removed_unasked(cloud, source, interrupted, prefix):
    with pytest.raises(OutputError, match="left an upload of this; resume it with `resume=True`, or discard"):
        deepgguf.convert(source, interrupted)
    assert len(cloud.uploads(prefix)) == 1


def test_restart_removes_the_upload_that_was_left(cloud, source, local, interrupted, prefix):
    assert len(cloud.uploads(prefix)) == 1
    deepgguf.convert(source, interrupted, restart=True)
    assert below(cloud, prefix) == local()
    assert cloud.uploads(prefix) == []


def test_an_upload_of_another_plan_is_not_resumed(source, interrupted):
    with pytest.raises(OutputError, match="belongs to another plan"):
        deepgguf.convert(source, interrupted, type="q8_0", resume=True)


def test_a_part_that_is_another_than_the_journal_says_is_sent_again(cloud, source, local, interrupted, prefix):
    (upload,) = cloud.uploads(prefix)
    key = f"{prefix}/model.gguf"
    cloud.client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=3, Body=bytes(PART))
    deepgguf.convert(source, interrupted, resume=True)
    assert below(cloud, prefix) == local()


def test_an_upload_that_is_gone_is_said(cloud, source, interrupted, prefix):
    (upload,) = cloud.uploads(prefix)
    cloud.client.abort_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/model.gguf", UploadId=upload)
    with pytest.raises(OutputError, match="the upload is gone: .*; start over with `restart=True`"):
        deepgguf.convert(source, interrupted, resume=True)


def test_an_upload_without_its_journal_is_not_resumed(cloud, source, interrupted, prefix):
    cloud.client.delete_object(Bucket=BUCKET, Key=f"{prefix}/model.gguf.part.journal")
    with pytest.raises(OutputError, match="has no journal, which says what of it can be relied on; discard it"):
        deepgguf.convert(source, interrupted, resume=True)


def test_two_runs_with_resume_notice_each_other(cloud, source, proxy, interrupted, prefix):
    key = f"{prefix}/model.gguf.part.journal"
    proxy.faults = lambda r: cloud.put(key, cloud.get(key) + b"x") if r.is_part else None
    with pytest.raises(OutputError, match="another run has taken over what this one wrote"):
        deepgguf.convert(source, interrupted, resume=True)


def test_weights_that_are_wrong_leave_no_upload(cloud, proxy, prefix, tmp_path):
    tensors = weights(V3)
    tensors["model.norm.weight"] = stored(np.full(tensors["model.norm.weight"].shape, np.nan), "BF16")
    wrong = write_checkpoint(tmp_path / "wrong", V3, tensors)
    with pytest.raises(CheckpointError):
        deepgguf.convert(wrong, f"s3://{BUCKET}/{prefix}/model.gguf")
    assert cloud.keys(prefix) == []
    assert cloud.uploads(prefix) == []


def test_what_s3_cannot_do_is_said_before_the_work(source, prefix):
    address = f"s3://{BUCKET}/{prefix}/"
    with pytest.raises(UsageError, match="`sha256`: an upload cannot be read again"):
        deepgguf.convert(source, address, sha256=True)
    with pytest.raises(UsageError, match="`budget` needs a place on this machine for the types"):
        deepgguf.convert(source, address, budget="10M")


def test_the_plan_and_the_summary_speak_of_the_bucket(source, prefix, capsys):
    address = f"s3://{BUCKET}/{prefix}/"
    assert main(["plan", str(source), "-o", address]) == 0
    assert "free" not in capsys.readouterr().out.split("fits")[0]
    assert main(["convert", str(source), "-o", address]) == 0
    said = capsys.readouterr().out
    assert f"wrote {address}v3-fp8-BF16.gguf" in said.replace("\n", "")
    assert f"aws s3 cp {address}v3-fp8-BF16.gguf ." in said


@pytest.mark.parametrize(
    ("output", "address"),
    [
        ("s3://b/p/", S3Address("b", "p")),
        ("s3://b/p/x.gguf", S3Address("b", "p/x.gguf")),
        ("s3://b", S3Address("b", "")),
        ("/x/s3", None),
        ("x.gguf", None),
        ("a:b", None),
    ],
)
def test_an_output_is_an_address_or_a_path(output, address):
    assert parse_output(output) == address


@pytest.mark.parametrize("output", ["gs://b/x/", "az://b/x/", "hf:org/name", "https://host/x/", "s3://"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(source, output):
    with pytest.raises(UsageError, match="deepgguf writes to folders and to s3|names no bucket"):
        deepgguf.convert(source, output)


def test_parts_are_as_many_as_s3_takes(monkeypatch):
    monkeypatch.setattr(parts, "_PART", 8 << 20)
    monkeypatch.setattr(parts, "_STEP", 1 << 20)
    assert [part_bytes(size) >> 20 for size in (1, 80 << 30, 671 << 30)] == [8, 9, 69]
    for size in (83_886_080_000, 83_886_080_001, 10**12):
        assert -(-size // part_bytes(size)) <= 10_000
