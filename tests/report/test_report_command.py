"""--report and `deepgguf report`: what stands in their way, and what they write."""

import errno
import json
import sys

import pytest

import deepgguf
from deepgguf.cli import main
from deepgguf.report.embedded import read_embedded
from deepgguf.run.disk import Disk


@pytest.fixture
def v3(checkpoint):
    return checkpoint("v3-fp8")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_that_looks_at_a_model_writes_a_page(v3, here, capsys):
    assert main(["plan", str(v3), "--type", "q4_k_m", "--report", "plan.html"]) == 0
    assert main(["convert", str(v3), "--type", "bf16", "-o", "v3.gguf", "--sha256", "--report", "made.html"]) == 0
    assert main(["inspect", "v3.gguf", "--report", "inspect.html"]) == 0
    assert main(["verify", "v3.gguf", str(v3), "--report", "verify.html"]) == 0
    assert main(["quantize", "v3.gguf", "--type", "q8_0", "--report", "quantize.html"]) == 0
    assert main(["report", "v3.gguf"]) == 0
    found = {name: read_embedded(here / f"{name}.html") for name in ("plan", "made", "inspect", "verify", "v3")}
    kinds = {"plan": "plan", "made": "conversion", "inspect": "file", "verify": "verification", "v3": "file"}
    assert {name: facts.kind for name, facts in found.items()} == kinds
    assert found["made"].files[0].sha256 == found["verify"].files[0].sha256 or found["v3"].files[0].sha256
    assert {facts.weights for facts in found.values()} == {found["plan"].weights}
    assert dict(found["verify"].provenance)["command"] == f"deepgguf verify v3.gguf {v3} --report verify.html"
    assert found["verify"].outcome.startswith("no difference; compared: ")
    assert capsys.readouterr().out.count("wrote ") == 8


def test_a_model_that_goes_straight_into_ollama_has_a_page_too(v3, here, monkeypatch):
    (here / "models").mkdir()
    monkeypatch.setenv("OLLAMA_MODELS", str(here / "models"))
    assert main(["convert", str(v3), "--ollama", "v3", "--ollama-way", "store", "--report", "v3.html"]) == 0
    facts = read_embedded(here / "v3.html")
    assert facts.kind == "conversion"
    assert (here / "models" / "blobs" / f"sha256-{facts.files[0].sha256}").is_file()


def test_json_stays_json(v3, here, capsys):
    assert main(["plan", str(v3), "--json", "--report", "plan.html"]) == 0
    assert json.loads(capsys.readouterr().out)["files"]
    assert read_embedded(here / "plan.html").kind == "plan"


def test_a_file_that_is_wrong_has_a_page_that_says_so(v3, here, capsys):
    deepgguf.convert(v3, "v3.gguf", type="bf16")
    damaged = bytearray((here / "v3.gguf").read_bytes())
    damaged[-40] ^= 1
    (here / "v3.gguf").write_bytes(damaged)
    assert main(["verify", "v3.gguf", "--report", "verify.html"]) == 3
    (difference,) = read_embedded(here / "verify.html").differences
    assert difference in capsys.readouterr().out


def test_the_errors_dropped_tensors_and_notes_of_a_run_are_in_its_page(v3, here):
    planned = deepgguf.plan(v3, "v3.gguf", type="q4_k_m")
    done = planned.run(measure_error=True)
    deepgguf.write_report("v3.html", planned, done, command="deepgguf convert https://me:secret@host/v3/?X-Key=secret")
    facts = read_embedded(here / "v3.html")
    assert (facts.dropped, facts.warnings, facts.sources) == (planned.dropped, planned.warnings, planned.sources)
    largest = max(done.largest_errors.values(), key=lambda tensor: tensor.relative_rms)
    assert (facts.worst[0].name, facts.worst[0].error) == (largest.name, largest.relative_rms)
    assert {t.note for t in facts.tensors} == {t.note for t in planned.files[0].tensors}
    assert dict(facts.provenance)["command"] == "deepgguf convert https://host/v3/?…"
    assert "secret" not in (here / "v3.html").read_text("utf-8")


def test_a_plan_and_a_verification_are_no_pair(v3, here):
    deepgguf.convert(v3, "v3.gguf")
    with pytest.raises(deepgguf.UsageError, match="a plan goes with the report of its run, a file with its verif"):
        deepgguf.write_report("v3.html", deepgguf.plan(v3), deepgguf.verify("v3.gguf"))
    assert not (here / "v3.html").exists()


def test_a_page_that_cannot_be_written_leaves_the_old_one(v3, here, monkeypatch):
    deepgguf.write_report("plan.html", deepgguf.plan(v3))
    before = (here / "plan.html").read_bytes()

    def full(disk, name, function, *args):
        if name == "fsync":
            raise OSError(errno.ENOSPC, "no space")
        return function(*args)

    monkeypatch.setattr(Disk, "call", full)
    with pytest.raises(deepgguf.OutputError, match=r"^plan.html: .*; look at the folder's space and permissions"):
        deepgguf.write_report("plan.html", deepgguf.plan(v3, type="q8_0"))
    assert (here / "plan.html").read_bytes() == before
    assert [path.name for path in here.iterdir()] == ["plan.html"]


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("mine.html", "mine.html: exists, and is not a page of deepgguf; move it away, or name another page"),
        ("page.htm", "page.htm: is not the name of a page; give one that ends with .html"),
        ("none/page.html", "none: no such folder; make it, or name another page"),
        ("", "--report must be a path, and is empty"),
    ],
)
def test_what_is_in_the_way_of_a_page_is_said_before_the_work(v3, here, capsys, page, complaint):
    (here / "mine.html").write_text("<p>my own")
    assert main(["convert", str(v3), "-o", "v3.gguf", "--report", page]) == 2
    assert capsys.readouterr().err == f"deepgguf: {complaint}\n"
    assert [path.name for path in here.iterdir()] == ["mine.html"]


@pytest.mark.parametrize("missing", ["none.gguf", "none.html"])
def test_a_model_that_is_not_there_is_said(here, capsys, missing):
    assert main(["report", missing, "-o", "page.html"]) == 2
    assert capsys.readouterr().err.startswith(f"deepgguf: {missing}: no such file")


def test_without_jinja2_it_is_said_what_to_install(v3, here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["convert", str(v3), "-o", "v3.gguf", "--report", "v3.html"]) == 2
    assert capsys.readouterr().err == (
        "deepgguf: --report needs Jinja2, which is not installed; `pip install 'deepgguf[report]'`\n"
    )
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("content", ["", "<meta>", '{"kind": 1}', "\x00"])
def test_what_is_no_report_is_refused(v3, here, capsys, content):
    main(["plan", str(v3), "--report", "plan.html"])
    page = (here / "plan.html").read_text("utf-8")
    start = page.index("{", page.index('id="deepgguf-facts"'))
    (here / "damaged.html").write_text(page[:start] + content, "utf-8")
    assert main(["report", "plan.html", "damaged.html"]) == 2
    assert "damaged.html: is a report that was damaged" in capsys.readouterr().err
