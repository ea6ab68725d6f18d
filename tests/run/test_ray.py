"""On a real Ray cluster of three nodes the bytes are those of threads, whatever becomes of its nodes.

Every sample, type, source and output with every other: `python tests/run/on_ray.py`.
"""

import json
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import moto.s3.models
import pytest
from node_accidents import FullOnOneNode, SlowFiles, StuckOnOneNode
from s3_conversions import small_parts

import deepgguf
from cloud_server import BUCKET, cloud_server, environment
from deepgguf.cli import main
from deepgguf.planning import windows
from deepgguf.run.execute import execute
from deepgguf.run.s3 import far_parts, parts
from deepgguf.run.settings import Settings
from golden import GOLDENS
from ray_cluster import connected
from web_server import MODEL, speak_for_the_hub, web_of


@pytest.fixture(scope="module")
def sources(ray_nodes, checkpoint):
    """Addresses by sample and kind; this process is connected to the cluster, whose nodes reach them too."""
    with cloud_server() as cloud, web_of(checkpoint("v3-fp8")) as web, pytest.MonkeyPatch.context() as patch:
        speak_for_the_hub(patch, web)
        for module, name in ((parts, "_PART"), (parts, "_STEP"), (moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE")):
            patch.setattr(module, name, getattr(module, name))
        small_parts()
        patch.setattr(
            parts, "_PART", 512 << 10
        )  # longer than any piece: moto fails where one part is sent twice at once
        cloud.put_folder(checkpoint("ocr"), "ocr")
        hub = {"HF_ENDPOINT": web.host(), "HF_HUB_OFFLINE": "0"}
        with connected(ray_nodes, environment(cloud.url) | hub):
            yield {
                ("v3-fp8", "hub"): f"hf:{MODEL}",
                ("ocr", "s3"): f"s3://{BUCKET}/ocr/",
                ("v2-lite", "folder"): checkpoint("v2-lite"),
                ("v3-fp8", "folder"): checkpoint("v3-fp8"),
                "cloud": cloud,
            }


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch):
    """So that a sample has some for every node."""
    monkeypatch.setattr(windows, "_LARGEST", 32 << 10)
    monkeypatch.setattr(windows, "_SMALLEST", 32 << 10)
    monkeypatch.setattr(far_parts, "_LEAST", 1)


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


MATRIX = GOLDENS / "imatrix" / "imatrix-v2-lite.gguf"
CASES = [
    ("v3-fp8", "hub", "folder", {}),
    ("v3-fp8", "folder", "s3", {"type": "q4_k_m"}),
    ("v2-lite", "folder", "folder", {"type": "iq2_xxs", "imatrix": MATRIX}),
    ("ocr", "s3", "s3", {}),
    ("ocr", "s3", "folder", {"type": "q4_k_m"}),
]


@pytest.mark.parametrize(("sample", "kind", "where", "choices"), CASES)
def test_the_same_files_from_anywhere_to_anywhere(sources, tmp_path, sample, kind, where, choices):
    here = deepgguf.convert(sources[sample, kind], tmp_path / "here.gguf", target="llama.cpp", **choices)
    output = tmp_path / "there" / "x.gguf" if where == "folder" else f"s3://{BUCKET}/{sample}-{len(choices)}/x.gguf"
    (tmp_path / "there").mkdir()
    made = deepgguf.convert(sources[sample, kind], output, target="llama.cpp", executor=deepgguf.Ray(), **choices)
    read = Path.read_bytes if where == "folder" else lambda address: sources["cloud"].get(address.key)
    for ours, theirs in zip(made.files, here.files, strict=True):
        assert sha256(read(ours.path)).hexdigest() == digest(theirs.path)
    assert made.came_back == "" and made.again == {} and set(made.nodes) <= {"node-1", "node-2", "node-3"}


def test_an_error_of_a_worker_comes_as_itself(sources, checkpoint, tmp_path):
    source = tmp_path / "v2"
    source.mkdir()
    for path in checkpoint("v2-lite").iterdir():
        content = path.read_bytes()
        (source / path.name).write_bytes(content[:-1000] + b"\xff" * 1000 if path.suffix == ".safetensors" else content)
    with pytest.raises(deepgguf.NonFiniteError, match=r"^tensor .*NaN"):
        deepgguf.convert(source, tmp_path / "x.gguf", executor=deepgguf.Ray())
    assert list(tmp_path.glob("x.*")) == []


def test_a_full_disk_is_said_with_the_node_that_has_it_and_the_run_is_resumed(sources, checkpoint, tmp_path):
    plan = deepgguf.plan(SlowFiles(checkpoint("v3-fp8")), tmp_path / "x.gguf", type="q4_k_m")
    with pytest.raises(
        deepgguf.OutputError, match=r"x\.gguf\.part: writing it failed: the disk is full \(on node node-2\)"
    ):
        execute(plan, Settings(tmp_path), deepgguf.Ray(), disk=FullOnOneNode())
    report = plan.run(executor=deepgguf.Ray(), resume=True)
    assert report.resumed > 0
    deepgguf.verify(tmp_path / "x.gguf", checkpoint("v3-fp8"), remake=True, executor=deepgguf.Ray())


_KILLED = """
import sys, deepgguf
from deepgguf.planning import windows
from deepgguf.run import execute
from node_accidents import SlowFiles
windows._LARGEST, execute._RECORD_SECONDS = 32 << 10, 0
deepgguf.convert(SlowFiles(sys.argv[1]), sys.argv[2], executor=deepgguf.Ray(sys.argv[3]))
"""


def test_a_driver_that_is_killed_is_followed_by_one_that_resumes(sources, ray_nodes, checkpoint, tmp_path, capsys):
    source, out = checkpoint("v3-fp8"), tmp_path / "x.gguf"
    journal = tmp_path / "x.gguf.part.journal"
    program = [sys.executable, "-c", _KILLED, str(source), str(out), ray_nodes.address]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL) as driver:
        begun = time.monotonic()
        while not journal.exists() or journal.stat().st_size < 3000:
            assert driver.poll() is None and time.monotonic() - begun < 60
            time.sleep(0.01)
        driver.kill()
    assert (
        main(["convert", str(source), "-o", str(out), "--executor", f"ray:{ray_nodes.address}", "--resume", "--json"])
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    deepgguf.convert(source, tmp_path / "here.gguf")
    assert digest(out) == digest(tmp_path / "here.gguf")
    assert 0 < said["resumed"] < said["size"] and sum(said["files"][0]["nodes"].values()) > 0


def test_a_node_that_is_killed_in_the_middle_costs_time_and_no_byte(sources, ray_nodes, checkpoint, tmp_path):
    source = shutil.copytree(checkpoint("v3-fp8"), tmp_path / "source")
    plan = deepgguf.plan(StuckOnOneNode(source), tmp_path / "x.gguf", type="q4_k_m")
    done = []

    def kill_at_a_tenth(nbytes: int) -> None:
        done.append(nbytes)
        if "node-3" in ray_nodes.by_name and sum(done) > plan.size / 10:
            ray_nodes.kill("node-3")

    report = plan.run(executor=deepgguf.Ray(), progress=kill_at_a_tenth)
    deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "here.gguf", type="q4_k_m")
    assert digest(tmp_path / "x.gguf") == digest(tmp_path / "here.gguf")
    assert sum(report.again.values()) > 0
