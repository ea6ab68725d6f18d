"""`deepgguf completion`: what a shell offers for the beginning of a word; and what is made for other shells."""

import re
import subprocess

import pytest

from deepgguf.cli import main
from deepgguf.cli.arguments import command_line
from deepgguf.cli.completion import SHELLS

# Bash calls the function that a command registered, with the words so far; what it offers is in COMPREPLY.
ASK = """
eval "$(cat)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
"$(complete -p deepgguf | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("conv", ["convert"]),
        ("ollama imp", ["import"]),
        ("completion ", [*SHELLS]),
        ("convert --resu", ["--resume"]),
        ("convert --target ", ["ollama", "llama.cpp"]),
        ("convert x --type q5_k_", ["q5_k_s", "q5_k_m"]),
        ("sample v2", ["v2-lite"]),
        ("inspect mod", ["model.gguf"]),
        ("sample v3 mo", ["models"]),
    ],
)
def test_bash_offers_commands_flags_values_and_files(tmp_path, capsys, words, offered):
    (tmp_path / "model.gguf").touch()
    (tmp_path / "models").mkdir()
    if words.startswith("inspect"):
        (tmp_path / "models").rmdir()
    asked = ["bash", "-c", ASK, "bash", "deepgguf", *words.split(" ")]
    said = subprocess.run(asked, input=script("bash", capsys), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (said.stdout.split(), said.stderr) == (offered, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_flag_is_in_the_script_of_every_shell(shell, capsys):
    text = script(shell, capsys)
    flags = set(re.findall(r"(?<![\w-])--([a-z][\w-]+)", command_line().format_help() + convert_s_help(capsys)))
    said = set(re.findall(r"[a-z][\w-]+", text))
    assert flags <= said
    assert {"convert", "plan", "verify", "import"} <= said


def convert_s_help(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["convert", "--help"]) == 0
    return capsys.readouterr().out.partition("examples:")[0]
