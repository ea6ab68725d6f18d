"""F6, F21: commands that are printed run in a shell; files of forks are described; other converters' flags are known."""

import subprocess
from pathlib import Path

import pytest

import deepgguf
from deepgguf import GGUFError
from deepgguf.cli import main
from deepgguf.cli.flags import in_flags
from deepgguf.formats.gguf.encode import encode_header, lay_out
from deepgguf.formats.gguf.fork_types import IK_LLAMA
from deepgguf.formats.gguf.types import GGMLType, Value, ValueType
from deepgguf.terminal.run_command import how_to_run, run_command
from tiny_checkpoint import V3, weights, write_checkpoint


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("x") / "My Cool Model (v3)", V3, weights(V3))


@pytest.mark.parametrize("choices", [{}, {"split_max_tensors": 20}, {"target": "llama.cpp"}])
def test_f6_the_printed_command_parses_and_every_file_has_its_from(source, tmp_path, choices):
    (folder := tmp_path / "my models").mkdir()
    planned = deepgguf.plan(source, folder, **choices)
    command = run_command(planned, planned.folder)
    subprocess.run(["sh", "-n", "-c", command], check=True)
    printed = subprocess.run(["sh", "-c", command.split(" > ")[0]], capture_output=True, text=True, check=False).stdout
    if "target" not in choices:
        assert printed == "".join(f"FROM {folder / file.name}\n" for file in planned.files)
        assert " ollama create my-cool-model-v3--bf16 -f " in command


def test_f6_the_version_of_ollama_that_loads_a_split_set_is_said_before_and_after(source, tmp_path, capsys):
    planned = deepgguf.plan(source, tmp_path, split_max_tensors=20)
    assert how_to_run(planned, planned.folder)[1].startswith("Ollama before 0.30 refuses a split set; join the files")
    assert main(["plan", str(source), "--split-max-tensors", "20"]) == 0
    assert "Ollama loads a split set since 0.30, by a FROM for every file" in capsys.readouterr().out
    assert main(["plan", str(source)]) == 0
    assert "0.30" not in capsys.readouterr().out


def fork_file(path: Path, *numbers: int) -> Path:
    """A GGUF file with an F32 tensor, one of 160 bytes for each of these types, and another F32."""
    names = ["a", *(f"fork.{number}" for number in numbers), "z"]
    infos = lay_out((name, GGMLType.F32, (1, 40)) for name in names)
    header = encode_header({"general.architecture": Value(ValueType.STRING, "deepseek2")}, infos)
    for number in numbers:
        name = f"fork.{number}".encode()
        at = header.index(len(name).to_bytes(8, "little") + name) + 8 + len(name) + 4 + 16
        header = header[:at] + number.to_bytes(4, "little") + header[at + 4 :]
    path.write_bytes(header + bytes(160 * len(names)))
    return path


def test_f21_every_type_of_ik_llama_is_named(tmp_path):
    tensors = deepgguf.inspect(fork_file(tmp_path / "ik.gguf", *IK_LLAMA)).tensors
    assert [t.type for t in tensors] == ["F32", *(f"{name} (ik_llama.cpp)" for name in IK_LLAMA.values()), "F32"]
    assert {(t.shape, t.bytes) for t in tensors} == {((1, 40), 160)}


def test_f21_the_last_tensor_may_be_a_fork_s(tmp_path):
    path = fork_file(tmp_path / "ik.gguf", 139)
    content = path.read_bytes()
    at = content.index(b"\x01\0\0\0\0\0\0\0z") + 9 + 4 + 16
    path.write_bytes(content[:at] + (144).to_bytes(4, "little") + content[at + 4 :])
    assert [t.type for t in deepgguf.inspect(path).tensors] == ["F32", "IQ4_K (ik_llama.cpp)", "IQ4_KS (ik_llama.cpp)"]


def test_f21_a_type_of_an_unknown_fork_is_called_so(tmp_path):
    assert deepgguf.inspect(fork_file(tmp_path / "x.gguf", 700)).tensors[1].type == "700 (a fork's, or newer)"


def test_f21_verify_names_the_type_that_it_cannot_decode(tmp_path):
    with pytest.raises(
        GGUFError, match=r"has type 139, unknown to ggml: IQ4_K \(ik_llama\.cpp\); the file may be sound"
    ):
        deepgguf.verify(fork_file(tmp_path / "ik.gguf", 139))


def test_f21_outtype_and_outfile_are_understood(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(source), "--outtype", "q8_0", "--outfile", "same.gguf"]) == 0
    assert main(["convert", str(source), "--type", "q8_0", "-o", "ours.gguf"]) == 0
    assert Path("same.gguf").read_bytes() == Path("ours.gguf").read_bytes()


@pytest.mark.parametrize(
    ("flag", "advice"),
    [
        (("--quantize", "q4_K_M"), "use --type"),
        (("--dry-run",), "use `deepgguf plan`"),
        (("--remote",), "give hf:ORGANIZATION/NAME without a flag"),
        (("--mmproj",), "use --only mmproj"),
        (("--threads=8",), "use --jobs"),
        (("--no-mtp",), "use --mtp drop"),
    ],
)
def test_f21_other_converters_flags_are_answered_with_ours(source, capsys, flag, advice):
    assert main(["convert", str(source), *flag]) == 2
    assert f"{flag[0].partition('=')[0]} is a flag of another converter: {advice}" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["Q4_K_M", "out.gguf"])
def test_f21_llama_quantize_s_places_are_answered_with_our_flags(source, capsys, argument):
    assert main(["convert", str(source), argument]) == 2
    assert f"one SRC only, and {argument} is another: give an output with -o" in capsys.readouterr().err


def test_f21_a_field_that_a_file_lacks_is_not_taken_for_a_flag():
    assert in_flags("Object missing required field `type`") == "Object missing required field `type`"
    assert in_flags("choose another `type`") == "choose another --type"
