"""`deepgguf` as a person or a script meets it: what stands on standard output and standard error, exit statuses."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import deepgguf
from deepgguf import kernels
from deepgguf.planning.options import TYPES
from deepgguf.recipes.recipe import NEED_IMPORTANCE

SRC = Path(deepgguf.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(SRC), "COLUMNS": "200"}
DEEPGGUF = [sys.executable, "-m", "deepgguf"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEEPGGUF, *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def lines(*arguments: object) -> list[str]:
    """Standard output of a command that succeeds and has nothing to complain about."""
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.rstrip() for line in done.stdout.splitlines()]


@pytest.fixture
def v3(checkpoint):
    return checkpoint("v3-fp8")


def test_the_summary_says_what_was_written_dropped_changed_and_how_large_the_error_is(v3, tmp_path):
    out = tmp_path / "v3.gguf"
    said = lines("convert", v3, "-o", out, "--type", "q4_k_m", "--report-error")
    assert said[0] == f"wrote {out}  {out.stat().st_size:,} bytes"
    assert said[2:7] == [
        "types: 17 F32, 14 Q4_K, 10 Q8_0, 5 Q5_0, 3 Q6_K",
        "dropped 23 tensors and 11 scales: multi-token prediction (MTP) layers",
        "60 weights paired with their scales",
        "NaN 0, Inf 0",
        "quantization error, relative RMS, the largest of each type:",
    ]
    assert [line.split()[0] for line in said[7:11]] == ["Q4_K", "Q5_0", "Q6_K", "Q8_0"]
    assert (
        said[-1] == f"run it: printf 'FROM %s\\n' {out} > Modelfile && ollama create v3 -f Modelfile && ollama run v3"
    )


def test_json_has_the_digest_of_every_tensor_and_the_file_s_sha256(v3, tmp_path):
    report = json.loads("".join(lines("convert", v3, "-o", tmp_path / "v3.gguf", "--sha256", "--json")))
    (file,) = report["files"]
    manifest = json.loads((tmp_path / "v3.gguf.json").read_text())
    assert {t["name"]: t["xxh3_128"] for t in file["tensors"]} == {t["name"]: t["digest"] for t in manifest["tensors"]}
    assert file["sha256"] == subprocess.check_output(["sha256sum", file["path"]], text=True).split()[0]


def test_every_type_has_the_size_of_its_own_plan(v3):
    every = json.loads("".join(lines("plan", v3, "--type", "all", "--json")))
    rows_do_not_fit = {"q1_0"}
    assert list(every) == [type for type in TYPES if type not in NEED_IMPORTANCE | rows_do_not_fit]
    for type in ("auto", "f32", "q4_k_m", "iq4_xs"):
        assert every[type]["size"] == json.loads("".join(lines("plan", v3, "--type", type, "--json")))["size"]


def test_every_type_counts_only_the_file_that_is_asked_for(checkpoint):
    text_of_a_model_with_pictures = (checkpoint("ocr"), "--target", "llama.cpp", "--only", "text", "--json")
    every = json.loads("".join(lines("plan", "--type", "all", *text_of_a_model_with_pictures)))
    for type in ("auto", "q8_0"):
        planned = json.loads("".join(lines("plan", "--type", type, *text_of_a_model_with_pictures)))
        assert every[type]["size"] == planned["size"]


def test_chosen_tensor_types_count_for_every_quantized_type(v3):
    chosen = ("--tensor-type", "ffn_down_exps=q8_0", "--json")
    every = json.loads("".join(lines("plan", v3, "--type", "all", *chosen)))
    assert every["q4_k_m"]["size"] == json.loads("".join(lines("plan", v3, "--type", "q4_k_m", *chosen)))["size"]
    assert every["f16"]["size"] == json.loads("".join(lines("plan", v3, "--type", "f16", "--json")))["size"]


def test_a_type_may_be_given_in_any_case(v3):
    assert lines("plan", v3, "--type", "Q4_K_M", "--json") == lines("plan", v3, "--type", "q4_k_m", "--json")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--type", "q4"], "--type: 'q4' is unknown; choose from auto, source, f32, f16, bf16, q4_0, "),
        (["--target", "vllm"], "--target: 'vllm' is unknown; choose from ollama, llama.cpp"),
        (["--only", "audio"], "--only: 'audio' is unknown; choose from text, mmproj"),
        (["--only", "mmproj"], "--only: this model has no mmproj file for ollama; leave it out"),
        (["--tensor-type", "a=q8_0"], "--tensor-type has no meaning for --type auto; choose a quantized --type"),
        (["--split-max-size", "1K"], "--split-max-size: 1,000 bytes are too few for blk.0.attn_kv_a_mqa.weight"),
        (["--split-max-tensors", "-1"], "--split-max-tensors must be at least 1, not -1"),
        (["--split-max-size", "9" * 21], f"--split-max-size: '{'9' * 21}' is not a size; give one such as 48G or 1.2T"),
        (["--split-max-size", "48X"], "--split-max-size: '48X' is not a size; give one such as 48G or 1.2T"),
        (["--split-max-size", "1.5"], "--split-max-size: '1.5' is not a size; give one such as 48G or 1.2T"),
        (["--jobs", "0"], "--jobs must be at least 1, not 0"),
        (["--jobs", "x"], "--jobs must be a whole number, not 'x'"),
        (["--jobs", "٣"], "--jobs must be a whole number, not '٣'"),
        (["--jobs", "1_0"], "--jobs must be a whole number, not '1_0'"),
        (["--jobs", "+2"], "--jobs must be a whole number, not '+2'"),
        (["--split-max-tensors", "9x"], "--split-max-tensors must be a whole number, not '9x'"),
        (["--layout", "deep"], "--layout: 'deep' is unknown, choose from "),
        (["--output"], "--output: expected one argument; see `deepgguf plan --help`"),
        (
            ["--imatrix", "/", "--type", "q4_k_m"],
            "/: a folder, not a regular file; give the path of an importance matrix",
        ),
        (["--imatrix", "/dev/null", "--type", "q4_k_m"], "/dev/null: a device, not a regular file; give the path of "),
        (["--tensor-type", "ffn"], "--tensor-type: 'ffn' is not of the form PATTERN=TYPE; write for instance "),
        (["--output-tensor-type", "q9"], "--output-tensor-type: 'q9' is not a type that deepgguf writes; "),
        (["--part", "2"], "--part: there is no file 2, only 1 in all; give a number from 1 to 1"),
        (
            ["--type", "all", "--target", "ollama,llama.cpp"],
            "--target names several engines, and --type all compares the types",
        ),
        (["--type", "all", "--part", "1"], "--part contradicts a plan of every type; leave it out"),
        (["--type", "all", "-o", "x"], "--output has no meaning for --type all, which only compares the types; "),
        (["--type", "all", "--only", "mmproj"], "--only: this model has no mmproj file for ollama; leave it out"),
    ],
)
def test_wrong_usage_has_status_2_and_names_the_option(v3, arguments, complaint):
    done = run("plan", v3, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"deepgguf: {complaint}")
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_option_names_the_help_of_its_command():
    done = run("sample", "v3", "x", "--frob\nnicate")
    assert (done.returncode, done.stdout) == (2, "")
    said = "deepgguf: unrecognized arguments: --frob\\x0anicate; see `deepgguf sample --help`\n"
    assert done.stderr == said


def test_an_existing_output_is_kept(v3, tmp_path):
    (tmp_path / "v3.gguf").write_text("precious")
    done = run("convert", v3, "-o", tmp_path / "v3.gguf")
    assert done.returncode == 2
    assert (
        done.stderr == f"deepgguf: {tmp_path}/v3.gguf: exists; replace it with --overwrite, or give another --output\n"
    )
    assert (tmp_path / "v3.gguf").read_text() == "precious"


def test_a_script_may_resume_what_is_complete(v3, tmp_path):
    command = ("convert", v3, "-o", tmp_path / "v3.gguf", "--resume")
    assert lines(*command)[0] == f"wrote {tmp_path}/v3.gguf  7,654,080 bytes"
    assert lines(*command)[0] == f"already complete: {tmp_path}/v3.gguf  7,654,080 bytes"
    assert json.loads("".join(lines(*command, "--json")))["files"][0]["found"] is True


@pytest.mark.parametrize(
    "command", [("split", "--split-max-size", "8M"), ("patch", "--override-kv", "general.name=str:X")]
)
def test_a_copy_that_is_complete_is_not_said_to_be_written(command, v3, tmp_path):
    lines("convert", v3, "-o", tmp_path / "v3.gguf")
    again = (*command, tmp_path / "v3.gguf", "-o", tmp_path / "new.gguf", "--resume")
    wrote, complete = lines(*again)[0], lines(*again)[0]
    assert complete == wrote.replace("wrote ", "already complete: ")
    assert f"{tmp_path}/new" in wrote
    made = json.loads("".join(lines(*again, "--json")))
    assert made.get("found") == [made["files"][0]] or made["files"][0]["found"] is True


COMMANDS = ["convert", "plan", "quantize", "merge", "split", "patch", "doctor", "inspect", "verify", "sample"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_exit_statuses(command):
    said = "\n".join(lines(command, "--help"))
    assert f"examples:\n  deepgguf {command} " in said
    assert "exit status:\n  0    done, or already complete (with --resume)\n  1    the source is at fault\n" in said


def test_help_groups_its_options_and_names_flags():
    said = lines("convert", "--help")
    titles = [line for line in said if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "positional arguments:",
        "options:",
        "types of the tensors:",
        "parts of the model:",
        "split sets and several files:",
        "importance matrix:",
        "keys of the file:",
        "existing outputs and interrupted runs:",
        "digests and measurements:",
        "reports and model cards:",
        "into Ollama:",
        "examples:",
        "exit status:",
    ]
    assert "  --write-recipe FILE   write the types that --budget chose as a recipe file" in said


@pytest.mark.parametrize(
    ("command", "title", "flag"),
    [
        (("split",), "split sets and several files:", "--no-tensor-first-split"),
        (("patch",), "what is changed:", "--undo"),
        (("ollama", "import"), "existing outputs and interrupted runs:", "--overwrite"),
        (("convert",), "options:", "--allow-nonfinite"),
    ],
)
def test_help_has_a_flag_in_the_group_that_it_belongs_to(command, title, flag):
    groups = "\n".join(lines(*command, "--help")).split("\n\n")
    (group,) = [group for group in groups if group.startswith(title)]
    assert flag in group.split()


def test_the_usage_of_quantize_says_that_it_needs_a_type():
    usage = "usage: deepgguf quantize IN.gguf (--type TYPE[,…] | --recipe FILE) [-o OUT] [OPTION …]"
    assert lines("quantize", "--help")[0] == usage


def test_help_for_quantize_names_its_own_types_and_engine():
    said = " ".join("\n".join(lines("quantize", "--help")).split())
    assert "--type TYPE[,…] copy, f32, f16, bf16, or a quantized type such as q8_0 or q4_k_m --dry-run" in said
    assert "ollama or llama.cpp (default: by the layout of IN.gguf)" in said


def test_all_files_of_a_split_set_are_too_many():
    assert "any file of a split set stands for all" in run("merge", "v3-1.gguf", "v3-2.gguf").stderr


@pytest.mark.parametrize("arguments", ["plan {} --json", "plan {}"])
def test_a_reader_that_has_gone_is_no_reason_to_complain(v3, arguments):
    shell = f"set -o pipefail; {' '.join(DEEPGGUF)} {arguments.format(v3)} | true"
    done = subprocess.run(["bash", "-c", shell], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


PROGRESS = """
import time
from deepgguf.terminal import progress
progress._PATIENCE_SECONDS = {patience}
with progress.progress_of(2_000_000, "model.gguf") as advance:
    for _ in range(10):
        advance(100_000)
        time.sleep(0.15)
    time.sleep(0.5)
"""


def on_a_terminal(program: str, **environment: str) -> str:
    """What a program writes to a terminal as its standard error."""
    ours, theirs = pty.openpty()
    environment = ENVIRONMENT | {"TERM": "xterm"} | environment
    subprocess.run([sys.executable, "-c", program], env=environment, stderr=theirs, stdout=theirs, check=True)
    os.close(theirs)
    said = b""
    try:
        while found := os.read(ours, 65536):
            said += found
    except OSError:  # Linux has EIO for the end of a terminal that nobody writes to
        pass
    os.close(ours)
    return said.decode()


def test_a_terminal_shows_name_share_size_rate_and_time_left():
    said = on_a_terminal(PROGRESS.format(patience=0))
    for expected in ("model.gguf", "50%", "1.0/2.0 MB", "kB/s", "0:00:0"):
        assert expected in said


def test_a_short_run_shows_nothing_on_a_terminal():
    assert on_a_terminal(PROGRESS.format(patience=60)) == ""


def test_the_width_of_a_terminal_and_no_color_are_respected(v3):
    program = f"from deepgguf.cli import main; main(['plan', {str(v3)!r}])"
    wide, narrow = (on_a_terminal(program, NO_COLOR="1", COLUMNS=columns) for columns in ("200", "60"))
    rendition = re.compile("\x1b\\[([0-9;]*)m")
    longest = [max(len(rendition.sub("", line)) for line in said.splitlines()) for said in (narrow, wide)]
    assert longest[0] <= 60 < longest[1]
    assert set(rendition.findall(narrow)) <= {"0", "1", "2"}  # bold and faint are no colours


def test_the_version_says_which_instructions_the_kernels_use():
    assert lines("--version") == [f"deepgguf {deepgguf.__version__} (kernels: {kernels.active()})"]


def test_windows_is_told_of_wsl_when_installing_and_when_running():
    program = "import sys; sys.platform = 'win32'; import deepgguf"
    said = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    sentence = said.stderr.splitlines()[-1].removeprefix("ImportError: ")
    assert sentence.startswith("deepgguf does not run on Windows itself: install it in WSL, https://")
    assert f'after-failure = "{sentence}"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()
