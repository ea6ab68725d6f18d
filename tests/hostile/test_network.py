"""Rows 52 to 62 of the catalogue: what goes wrong between here and a server."""

import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import deepgguf
import web_server
from deepgguf.cli import main
from deepgguf.errors import ChangedError, CheckpointError, OutputError, UsageError
from deepgguf.files.network.http import HttpFiles
from deepgguf.files.network.hub import open_folder
from deepgguf.files.network.patience import Patience
from web_server import MODEL, TOKEN, Web, web_of

QUICK = Patience(attempts=4, first=0.01, longest=0.02, asked=0.2, stall=0.4)
SHARD = "model-00001-of-000003.safetensors"
NAME = "model.safetensors"
CERTIFICATE = Path(web_server.__file__).with_name("wrong_certificate.pem")
DATA = np.random.default_rng(1).bytes(3_000_000)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Waits are short, and nobody's settings count."""
    for module in ("network_files", "hub"):
        monkeypatch.setattr(f"deepgguf.files.network.{module}.PATIENCE", QUICK)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def web(monkeypatch):
    with Web({NAME: DATA, "config.json": b"{}"}) as served:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.host())
        yield served


@pytest.fixture(params=["http", "hf"])
def files(web, request):
    with HttpFiles(web.plain) if request.param == "http" else open_folder(f"hf:{MODEL}") as opened:
        yield opened


def read(files, start=1000, stop=2_500_000):
    return files.read(files.facts(NAME), start, stop - start).tobytes() == DATA[start:stop]


def repeated(files) -> dict[str, int]:
    return files.traffic.repeated


def test_row_52_a_server_that_ignores_ranges_is_refused_at_once(web, files):
    web.happens(web_server.ignores_the_range)
    with pytest.raises(OutputError, match="sends whole files instead of the ranges .*; download the checkpoint"):
        read(files)
    assert repeated(files) == {}


def test_row_52_a_whole_file_that_was_asked_for_may_come_without_a_range(web, files):
    web.happens(web_server.ignores_the_range)
    assert read(files, 0, len(DATA))


@pytest.mark.parametrize(
    ("accident", "what"),
    [
        (web_server.gives_another_range, "another range than was asked for"),
        (web_server.says_no_range, "another range than was asked for"),
        (web_server.gives_fewer, "another length than the range has"),
        (web_server.gives_more, "another length than the range has"),
        (web_server.gives_more_in_chunks, "body too long"),
        (web_server.breaks_off, "body too short"),
    ],
)
def test_row_53_another_range_or_length_is_asked_for_again(web, files, accident, what):
    web.happens(accident, 2)
    assert read(files)
    assert repeated(files) == {what: 2}


def test_row_53_what_came_before_a_body_broke_off_is_not_read_twice(web, files):
    web.happens(web_server.breaks_off, 2)
    assert read(files)
    starts = [int(asked.headers["Range"].removeprefix("bytes=").partition("-")[0]) for asked in web.ranges()]
    assert starts == [1000, 1000 + 1_249_500, 1000 + 1_249_500 + 624_750]
    assert files.traffic.nbytes == 2_499_000


def test_row_54_a_compressed_body_is_refused(web, files):
    web.happens(web_server.compresses)
    with pytest.raises(OutputError, match=r"the server compresses it \(gzip\), though asked not to"):
        read(files)
    assert {asked.headers["Accept-Encoding"] for asked in web.ranges()} == {"identity"}


def test_row_55_the_token_is_sent_to_the_hub_alone(web, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    web.gated = web.private = True
    with open_folder(f"hf:{MODEL}") as files:
        assert read(files)
    sent = {(asked.host, asked.headers.get("Authorization")) for asked in web.log if "/api/agent" not in asked.path}
    assert sent == {("hub", f"Bearer {TOKEN}"), ("other", None)}


def test_row_56_an_address_that_expires_in_the_middle_is_asked_for_again(web):
    with open_folder(f"hf:{MODEL}") as files:
        facts = files.facts(NAME)
        assert files.read(facts, 0, 600_000).tobytes() == DATA[:600_000]
        web.happens(web_server.expires)
        assert files.read(facts, 600_000, 600_000).tobytes() == DATA[600_000:1_200_000]
    assert repeated(files) == {"address expired": 1}


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "0"}),
        (429, {"Retry-After": "Thu, 01 Jan 2026 00:00:00 GMT"}),
        (429, {"RateLimit": '"resolvers";r=0;t=0'}),
        (500, {}),
        (502, {}),
        (503, {"Retry-After": "nonsense"}),
        (504, {}),
    ],
)
def test_row_57_a_server_that_is_busy_or_broken_is_asked_again(web, files, status, headers):
    web.happens(web_server.status(status, headers), 3)
    assert read(files)
    assert repeated(files) == {f"status {status}": 3}


def test_row_57_after_as_many_times_as_patience_has_the_run_ends(web, files):
    web.happens(web_server.status(503), 4)
    with pytest.raises(
        OutputError, match=r"^model.safetensors: cannot be read: status 503 \(4 times in a row\); check"
    ):
        read(files)


@pytest.mark.parametrize(
    ("accident", "what"),
    [
        (web_server.resets, "connection lost"),
        (web_server.hangs_up, "connection lost"),
        (web_server.speaks_no_http, "an answer that is not HTTP"),
    ],
)
def test_row_58_a_connection_that_is_lost_is_made_again(web, files, accident, what):
    web.happens(accident, 2)
    assert read(files)
    assert repeated(files).keys() <= {what}


@pytest.mark.parametrize("accident", [web_server.stalls, web_server.drips])
def test_row_59_a_connection_on_which_hardly_anything_comes_is_given_up(web, files, accident):
    web.happens(accident)
    assert read(files)
    assert repeated(files) == {"nothing came any more": 1}


def test_row_60_a_file_that_changes_between_requests_is_noticed(web):
    web.happens(web_server.is_replaced)
    with HttpFiles(web.plain) as files, pytest.raises(ChangedError, match="changed or truncated while it was read"):
        read(files)


def test_row_60_a_file_that_is_cut_short_is_noticed(web, files):
    facts = files.facts(NAME)
    web.put(NAME, DATA[:-1])
    with pytest.raises(ChangedError, match="changed or truncated while it was read"):
        files.read(facts, 1000, 2_000_000)


def test_row_61_a_listing_with_a_file_that_is_not_there_names_it(web):
    web.listed = ["config.json", "model.safetensors", "gone.safetensors"]
    with open_folder(f"hf:{MODEL}") as files:
        with pytest.raises(CheckpointError, match="^gone.safetensors: listed in hf:.*, but not there"):
            files.facts("gone.safetensors")
        web.put(NAME, DATA + b"x")
        assert files.facts(NAME).size == len(DATA) + 1  # sizes are asked of the file, not of the listing


def test_row_62_a_wrong_certificate_is_refused_at_once():
    with Web({NAME: DATA, "config.json": b"{}"}, CERTIFICATE) as web, HttpFiles(web.plain) as files:
        with pytest.raises(OutputError, match="the server's certificate is wrong: .*; check the address"):
            files.facts(NAME)
        assert web.log == []


def test_row_62_without_a_network_the_run_ends_after_a_few_tries():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lost = pytest.raises(OutputError, match=r"cannot be read: connection refused \(4 times in a row\); check the net")
    with HttpFiles(f"http://127.0.0.1:{port}/x/") as files, lost:
        files.facts("config.json")


def test_row_55_a_redirect_from_https_to_http_is_refused(web, monkeypatch):
    """Seen from the hub's side: an address that was https leads to one that is not."""
    with Web({}, CERTIFICATE) as secure:
        monkeypatch.setattr("deepgguf.files.network.http_client._certificates", ssl._create_unverified_context)
        secure.moved = web.plain
        with HttpFiles(secure.plain) as files, pytest.raises(OutputError, match="redirected from https to http"):
            files.facts(NAME)


def test_row_55_redirects_without_end_are_followed_ten_times(web):
    web.moved = web.plain
    with HttpFiles(web.plain) as files, pytest.raises(OutputError, match="more than 10 redirects"):
        files.facts(NAME)
    assert len(web.log) == 10


def test_row_55_the_password_of_netrc_is_sent_to_its_host_alone(web, monkeypatch, tmp_path):
    with Web({}, CERTIFICATE) as secure, Web({NAME: DATA}, CERTIFICATE) as other:
        monkeypatch.setattr("deepgguf.files.network.http_client._certificates", ssl._create_unverified_context)
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
        (tmp_path / ".netrc").chmod(0o600)
        secure.moved = other.plain
        with HttpFiles(secure.plain) as files:
            assert read(files)
    assert {asked.headers.get("Authorization") for asked in secure.log} == {"Basic bWU6c2VjcmV0"}
    assert {asked.headers.get("Authorization") for asked in other.log} == {None}


@pytest.mark.parametrize(
    ("listing", "error"),
    [
        (b"<!doctype html><html>please log in</html>", "the Hub cannot be reached"),
        (b'{"id": "x/y", "sha": "%s"}' % web_server.COMMIT.encode(), "no file at all"),
    ],
)
def test_row_61_a_listing_that_is_none_is_an_error(web, listing, error):
    web.listing = listing
    with pytest.raises(OutputError, match=error):
        open_folder(f"hf:{MODEL}")


def test_row_61_a_page_in_place_of_a_shard_is_no_shard(web):
    web.put("config.json", b'{"architectures": ["DeepseekV3ForCausalLM"]}')
    web.put(NAME, b"<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(CheckpointError, match="model.safetensors: an HTML page, not the file itself"):
        deepgguf.plan(web.plain)


def test_row_62_a_model_that_is_not_there_is_the_user_s_to_look_for(web):
    with pytest.raises(
        UsageError, match="no such model on the Hub, or a private one; look at its name; .*hf auth login"
    ):
        deepgguf.plan("hf:deepseek-ai/DeepSeek-V33")
    with pytest.raises(UsageError, match="the model has no revision v9; give a branch, a tag or a commit"):
        deepgguf.plan(f"hf:{MODEL}@v9")


def test_row_62_a_private_model_asks_for_a_token(web):
    web.private = True
    with pytest.raises(
        UsageError, match="no such model on the Hub, or a private one; .* log in with `hf auth login`, or"
    ):
        deepgguf.plan(f"hf:{MODEL}")


def test_row_62_a_gated_model_asks_for_a_token_and_for_its_licence(web, monkeypatch):
    web.gated = True
    with pytest.raises(OutputError, match=r"asks who you are \(status 401\); log in with `hf auth login`"):
        deepgguf.plan(f"hf:{MODEL}")
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    licence = f"accept the licence at https://huggingface.co/{MODEL}, then log in"
    with pytest.raises(OutputError, match=rf"the model is gated: .*; {licence}"):
        deepgguf.plan(f"hf:{MODEL}")


def test_a_run_that_a_network_ended_is_resumed_to_the_same_bytes(checkpoint, monkeypatch, tmp_path):
    with web_of(checkpoint("v3-fp8")) as served:
        source = deepgguf.plan(served.plain, tmp_path / "whole.gguf").run().files[0].path.read_bytes()
        monkeypatch.setattr("deepgguf.planning.windows._SMALLEST", 1 << 18)  # so that there are several
        made = deepgguf.plan(served.plain, tmp_path / "broken.gguf")
        served.accidents = [lambda *_: False] * 12 + [web_server.status(503)] * 100
        with pytest.raises(OutputError, match="status 503 .*; check the network, then run again with `resume=True`"):
            made.run(jobs=1)
        served.accidents.clear()
        report = deepgguf.convert(served.plain, tmp_path / "broken.gguf", resume=True)
    assert report.resumed
    assert report.files[0].path.read_bytes() == source


@pytest.mark.parametrize("accident", [web_server.stalls, web_server.status(429, {"Retry-After": "300"})])
def test_what_waits_for_a_network_ends_soon_when_the_run_does(web, accident):
    web.happens(accident, 2)
    failed = []

    def wait(files):
        with pytest.raises(OutputError, match="the run ends"):
            read(files)
        failed.append(True)

    with HttpFiles(web.plain, patience=Patience()) as files:
        thread = threading.Thread(target=wait, args=(files,))
        thread.start()
        while not web.ranges():
            time.sleep(0.01)
        time.sleep(0.1)
        files.abandon()
        thread.join(5)
    assert failed == [True]


def test_the_command_ends_with_4_and_its_summary_counts_what_was_repeated(checkpoint, capsys, tmp_path):
    with web_of(checkpoint("v3-fp8")) as served:
        served.happens(web_server.status(503), 100)
        assert main(["convert", served.plain, "-o", str(tmp_path / "a.gguf")]) == 4
        assert "then run again with --resume" in capsys.readouterr().err
        served.accidents[2:] = []
        assert main(["convert", served.plain, "-o", str(tmp_path / "a.gguf"), "--resume"]) == 0
        assert "repeated: status 503 (2)" in capsys.readouterr().out


def test_a_proxy_that_the_environment_names_is_asked(web, monkeypatch):
    with Web({NAME: DATA}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.host())
        monkeypatch.setenv("no_proxy", "")
        with HttpFiles("http://elsewhere.invalid/plain/") as files:
            assert read(files)
    assert {asked.path for asked in proxy.log} == {f"http://elsewhere.invalid/plain/{NAME}"}


def test_a_branch_that_moved_since_names_the_commit_with_which_the_run_is_resumed(checkpoint, monkeypatch, tmp_path):
    choices = {"target": "llama.cpp"}  # whose files have the commit among their keys
    with web_of(checkpoint("v3-fp8")) as served:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.host())
        monkeypatch.setattr("deepgguf.planning.windows._SMALLEST", 1 << 18)  # so that there are several
        made = deepgguf.plan(f"hf:{MODEL}", tmp_path / "a.gguf", **choices)
        served.accidents = [lambda *_: False] * 12 + [web_server.status(503)] * 100
        with pytest.raises(OutputError, match="status 503"):
            made.run(jobs=1)
        assert (tmp_path / "a.gguf.part.journal").exists()
        served.accidents.clear()
        before = f"hf:{MODEL}@{served.commits[0]}"
        served.commits.append("f" * 40)
        with pytest.raises(
            OutputError, match=f"belongs to a run that reads {before}, not .*f; give that as the source"
        ):
            deepgguf.convert(f"hf:{MODEL}", tmp_path / "a.gguf", resume=True, **choices)
        deepgguf.convert(before, tmp_path / "a.gguf", resume=True, **choices)
        assert deepgguf.verify(tmp_path / "a.gguf", before).differences == ()


@pytest.mark.parametrize("after", [0, 6], ids=["in the plan", "in the conversion"])
def test_an_interrupt_does_not_wait_for_a_network_that_stalls(checkpoint, tmp_path, after):
    with web_of(checkpoint("v3-fp8")) as served:
        served.accidents = [lambda *_: False] * after + [web_server.stalls] * 100
        words = [sys.executable, "-m", "deepgguf", "convert", served.plain, "-o", str(tmp_path / "a.gguf")]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        while len(served.accidents) >= 100:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)  # a stalled connection alone is given up after 30 seconds
    assert process.returncode == 130
    assert complaint.startswith("deepgguf: SIGINT: stopped")
