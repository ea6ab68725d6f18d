"""Rows 98, 101 and 102: names, terminals, streams, signals and shells."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from accidents import with_accident
from checkpoints import checkpoint
from command import DEEPGGUF, Outcome, digest, failed, refused, run_deepgguf
from gguf_bytes import STRING, gguf, key, text

from deepgguf.errors import OutputError, VerificationError
from deepgguf.run.disk import Disk
from deepgguf.run.journal import reopen_journal
from deepgguf.verification.stored_hashes import read_stored_hashes

NOT_UTF8 = os.fsdecode(b"m\xff\xe9")
FULL = 'exec "$@" >/dev/full'
SINKS = {
    "output_closed": 'exec "$@" >&-',
    "error_closed": 'exec "$@" 2>&-',
    "all_closed": 'exec "$@" <&- >&- 2>&-',
}


def in_shell(script: str) -> list[str]:
    """A program that starts deepgguf by a line of shell in which it is "$@"."""
    return ["sh", "-c", script, "sh", *DEEPGGUF]


def succeeded(*arguments: str | Path) -> Outcome:
    outcome = run_deepgguf(*arguments)
    assert (outcome.status, outcome.stderr) == (0, ""), outcome
    return outcome


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return checkpoint("v3", tmp_path / "v3")


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SHA-256 of what the sample is converted to."""
    folder = tmp_path_factory.mktemp("right")
    succeeded("convert", checkpoint("v3", folder / "v3"), "-o", folder / "v3.gguf")
    return digest(folder / "v3.gguf")


def test_row_98_a_folder_that_is_not_utf8(source, tmp_path, right):
    folder = source.rename(tmp_path / NOT_UTF8)
    succeeded("convert", folder, "-o", tmp_path / "v3.gguf")
    assert digest(tmp_path / "v3.gguf") == right
    plan = json.loads(succeeded("plan", folder, "--json").stdout)
    assert (plan["source"], plan["name"]) == (f"{tmp_path}/m\\udcff\\udce9", "m__")


def test_row_98_a_folder_that_is_not_utf8_in_a_file_that_has_its_name(source, tmp_path):
    folder = source.rename(tmp_path / NOT_UTF8)
    succeeded("convert", folder, "-o", tmp_path / "v3.gguf", "--target", "llama.cpp")
    assert json.loads(succeeded("inspect", tmp_path / "v3.gguf", "--json").stdout)["name"] == "M__"


def test_row_98_a_shard_that_is_not_utf8(source, tmp_path, right):
    (source / "model.safetensors").rename(source / f"{NOT_UTF8}.safetensors")
    failed("convert", source, "-o", tmp_path / "v3.gguf", status=70, program=with_accident("worker_exception"))
    assert (tmp_path / "v3.gguf.part.journal").exists()
    succeeded("convert", source, "-o", tmp_path / "v3.gguf", "--resume")
    assert digest(tmp_path / "v3.gguf") == right


def test_row_98_an_output_that_is_not_utf8(source, tmp_path, right):
    out = tmp_path / f"{NOT_UTF8}.gguf"
    report = json.loads(succeeded("convert", source, "-o", out, "--json").stdout)
    assert digest(out) == right
    assert report["files"][0]["path"] == f"{tmp_path}/m\\udcff\\udce9.gguf"
    assert "m\\udcff\\udce9.gguf" in succeeded("inspect", out).stdout
    assert json.loads(succeeded("verify", out, source, "--json").stdout)["differences"] == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@pytest.mark.parametrize(
    "arguments", ["plan {0}", "plan {0} --json", "inspect {1}", "inspect {1} --json", "verify {1} {0}", "convert -h"]
)
def test_row_98_a_terminal_of_another_encoding(source, tmp_path, monkeypatch, encoding, arguments):
    folder, file = source.rename(tmp_path / "日本"), tmp_path / "ü.gguf"
    succeeded("convert", folder, "-o", file)
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    command = [word.format(folder, file) for word in arguments.split()]
    done = subprocess.run([*DEEPGGUF, *command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    if "--json" in command:
        json.loads(done.stdout.decode("utf-8"))
    else:
        done.stdout.decode(encoding)


@pytest.mark.parametrize("sink", SINKS.values(), ids=SINKS)
def test_row_98_a_closed_stream_costs_no_file(source, tmp_path, right, sink):
    outcome = run_deepgguf("convert", source, "-o", tmp_path / "v3.gguf", program=in_shell(sink))
    assert (outcome.status, outcome.stderr) == (0, "")
    assert digest(tmp_path / "v3.gguf") == right


@pytest.mark.parametrize("arguments", ["plan {}", "plan {} --json", "--help", "--version"])
def test_row_98_a_full_standard_output(source, monkeypatch, arguments):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # argparse drops its own errors of writing
    line = failed(*arguments.format(source).split(), status=4, program=in_shell(FULL))
    assert line == (
        "standard output: cannot be written: No space left on device; send it elsewhere; files that were made are "
        "complete"
    )


def test_row_98_a_full_standard_output_costs_no_file(source, tmp_path, right):
    failed("convert", source, "-o", tmp_path / "v3.gguf", status=4, program=in_shell(FULL))
    assert digest(tmp_path / "v3.gguf") == right


@pytest.mark.parametrize("arguments", [["plan", "nothing"], ["plan"]])
@pytest.mark.parametrize("script", ['exec "$@" 2>/dev/full', 'exec "$@" 2>&-'])
def test_row_98_a_complaint_that_cannot_be_written_keeps_its_status(arguments, script):
    assert run_deepgguf(*arguments, program=in_shell(script)) == Outcome(2, "", "")


@pytest.mark.parametrize("name", ["[red]m.gguf", "[link=x]m.gguf"])
def test_row_98_brackets_are_no_markup(source, tmp_path, name):
    assert name in succeeded("plan", source, "-o", tmp_path / name).stdout
    assert f"{tmp_path}/{name}" in succeeded("convert", source, "-o", tmp_path / name).stdout
    assert f"{tmp_path}/{name}" in succeeded("inspect", tmp_path / name).stdout
    assert f"{tmp_path}/{name}" in succeeded("verify", tmp_path / name).stdout


def test_row_98_brackets_in_the_name_of_a_dropped_tensor_are_no_markup(source):
    shard = source / "model.safetensors"
    renamed = shard.read_bytes().replace(b"model.layers.3.input_layernorm.", b"model.layers.3.[/red]layernorm.")
    shard.unlink()
    shard.write_bytes(renamed)
    assert "model.layers.3.[/red]layernorm.weight" in succeeded("plan", source).stdout


@pytest.mark.parametrize("level", ["foo", os.fsdecode(b"\xff")])
def test_row_98_an_unknown_simd_level(source, monkeypatch, tmp_path, level):
    monkeypatch.setenv("DEEPGGUF_SIMD", level)
    line = refused("plan", source, folder=tmp_path, status=2)
    assert line.startswith("DEEPGGUF_SIMD: ")
    assert line.endswith("; unset it, or give one of them")


def flips(data: bytes) -> list[bytes]:
    """`data` with one bit flipped, for every byte the lowest and the highest; with that it is no UTF-8."""
    return [data[:i] + bytes([data[i] ^ bit]) + data[i + 1 :] for i in range(len(data)) for bit in (1, 128)]


def test_row_98_a_flipped_bit_in_a_journal_s_header(source, tmp_path):
    failed("convert", source, "-o", tmp_path / "v3.gguf", status=70, program=with_accident("worker_exception"))
    journal = tmp_path / "v3.gguf.part.journal"
    header, _, records = journal.read_bytes().partition(b"\n")
    assert header
    for flipped in flips(header):
        journal.write_bytes(flipped + b"\n" + records)
        try:
            reopen_journal(Disk(), journal, pieces=1)[0].close()
        except OutputError as error:
            assert error.found == "the journal's header is damaged or of another version"


def test_row_98_a_flipped_bit_in_a_manifest(source, tmp_path):
    succeeded("convert", source, "-o", tmp_path / "v3.gguf")
    manifest = tmp_path / "v3.gguf.json"
    data = manifest.read_bytes()
    for flipped in flips(data[:300]):
        manifest.write_bytes(flipped + data[300:])
        try:
            read_stored_hashes(manifest)
        except VerificationError as error:
            assert error.where == str(manifest)


@pytest.mark.parametrize("module", ["argparse", "deepgguf.cli.program", "numpy", "deepgguf.kernels._kernels"])
def test_row_101_an_interrupt_during_the_imports(source, tmp_path, monkeypatch, module):
    monkeypatch.setenv("DEEPGGUF_IMPORT", module)
    line = refused("plan", source, folder=tmp_path, status=130, program=with_accident("interrupted_import"))
    assert line == "SIGINT: stopped"


def test_row_101_next_to_nothing_is_imported_before_signals_are_handled():
    program = "import sys, deepgguf.cli; print(*sorted(name for name in sys.modules if name.startswith('deepgguf')))"
    said = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert said == "deepgguf deepgguf.cli deepgguf.version\n"


@pytest.mark.parametrize(("accident", "signal"), [("hangup", "HUP"), ("interrupt", "INT")])
def test_row_101_an_ignored_signal_stays_ignored(source, tmp_path, right, accident, signal):
    ignoring = ["sh", "-c", f"trap '' {signal}; exec \"$@\"", "sh", *with_accident(accident)]
    assert run_deepgguf("convert", source, "-o", tmp_path / "v3.gguf", program=ignoring).status == 0
    assert digest(tmp_path / "v3.gguf") == right


@pytest.mark.parametrize("pattern", ["[a--b]", "[[a]", "[a&&b]", "[a||b]", "[a~~b]"])
def test_row_101_a_pattern_whose_meaning_python_will_change(source, tmp_path, pattern):
    line = refused("plan", source, "--type", "q4_k_m", "--tensor-type", f"{pattern}=q8_0", folder=tmp_path, status=2)
    assert line.startswith(f"--tensor-type: '{pattern}' is not a regular expression: Possible ")


def test_row_102_json_shows_control_characters_escaped(tmp_path):
    value = "\x9b2J\x85\x7f\u202e\u2028ü｜"
    (tmp_path / "m.gguf").write_bytes(gguf([key(b"general.name", STRING, text(value.encode()))]))
    said = succeeded("inspect", tmp_path / "m.gguf", "--json").stdout
    assert json.loads(said)["name"] == value
    assert '"\\u009b2J\\u0085\\u007f\\u202e\\u2028ü｜"' in said


FOLDERS = [
    "$(touch owned)",
    "a'b;touch owned;'",
    "x" * 150 + " ; touch owned ; ",
    "'" * 40 + " touch owned ",
    "\x1b[2K\t\x85\u2028\xa0;touch owned",
    os.fsdecode(b"\xff%s\\n;touch owned"),
    "-e\x01touch owned",
]


def engine_calls(said: str, at: Path) -> str:
    """What the printed command calls: the words of every engine's command and the Modelfile; nothing is touched."""
    for engine in ("ollama", "llama-cli"):
        (at / engine).write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> calls\n')
        (at / engine).chmod(0o755)
    command = said.partition("run it: ")[2]
    assert command.count("\n") == 1
    path = f"{at}:{os.environ['PATH']}"
    subprocess.run(["sh"], input=os.fsencode(command), cwd=at, env={"PATH": path}, check=True)
    assert not (at / "owned").exists()
    return "".join(os.fsdecode((at / name).read_bytes()) for name in ("calls", "Modelfile") if (at / name).exists())


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
def test_row_102_the_printed_command_names_the_file_and_runs_nothing_else(tmp_path, monkeypatch, target, name):
    source = checkpoint("v2-lite", tmp_path / "v2")
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    said = succeeded("convert", source, "--target", target, "-o", f"{name}/m.gguf").stdout
    assert f"{name}/m.gguf\n" in engine_calls(said, tmp_path)


def test_row_102_a_modelfile_cannot_name_a_path_with_a_line_break(tmp_path):
    source = checkpoint("v2-lite", tmp_path / "v2")
    (tmp_path / "a\nADAPTER b").mkdir()
    said = succeeded("convert", source, "-o", tmp_path / "a\nADAPTER b" / "m.gguf").stdout
    assert said.splitlines()[-1] == "a Modelfile cannot name a file whose path has a line break; rename it"
