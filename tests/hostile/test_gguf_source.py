"""Rows 120 to 133: GGUF files as sources, and what becomes of them by `quantize`, `merge`, `split`, `patch`, `doctor`."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from command import digest, names, refused, run_deepgguf, start_deepgguf
from gguf_bytes import ARRAY, STRING, UINT32, array, gguf, key, tensor, text, u32
from small_sources import MANY, architecture, source

from deepgguf import plan_quantize, verify
from deepgguf.errors import ChangedError

INT32, I32 = 5, 26  # a key's type, and a tensor's
COMMANDS = {
    "quantize": ("--type", "q8_0", "-o", "out.gguf"),
    "merge": ("-o", "out.gguf"),
    "split": ("-o", "out.gguf"),
    "patch": ("--pre", "deepseek-v3"),
    "doctor": (),
}


def run(command: str, path: Path, folder: Path) -> tuple[str | Path, ...]:
    words = [folder / word if word.endswith(".gguf") else word for word in COMMANDS[command]]
    return (command, path, *words)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "content",
    {
        "row_120_no_gguf": b"PK\3\4" + bytes(100),
        "row_120_empty": b"",
        "row_120_cut_short": gguf([architecture(b"deepseek2")], [tensor(b"token_embd.weight", (64,))], data=64),
        "row_120_absurd_counts": gguf(key_count=2**60),
        "row_120_overlap": gguf([architecture(b"deepseek2")], [tensor(b"v", (9,)), tensor(b"w", offset=32)], data=96),
    }.items(),
    ids=lambda item: item[0],
)
def test_every_command_refuses_a_file_that_is_no_sound_gguf(tmp_path, command, content):
    path = tmp_path / "in.gguf"
    path.write_bytes(content[1])
    assert "in.gguf" in refused(*run(command, path, tmp_path), folder=tmp_path, status=3)


@pytest.mark.parametrize("command", COMMANDS)
def test_row_121_a_file_that_is_not_there_is_named(tmp_path, command):
    line = refused(*run(command, tmp_path / "in.gguf", tmp_path), folder=tmp_path, status=2)
    assert "in.gguf: " in line
    assert "no such file" in line


@pytest.mark.parametrize("command", ["quantize", "patch", "doctor"])
def test_row_121_a_folder_is_for_convert(tmp_path, command):
    assert "is for `convert`" in refused(*run(command, tmp_path, tmp_path), folder=tmp_path, status=2)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        pytest.param([], "general.architecture is None", id="row_122_no_architecture"),
        pytest.param([architecture(b"llama")], "general.architecture is 'llama'", id="row_122_another_architecture"),
        pytest.param([architecture(b"clip")], "an mmproj, which no engine runs quantized", id="row_122_an_mmproj"),
        pytest.param(
            [key(b"general.architecture", UINT32, u32(7))], "general.architecture is 7", id="row_122_a_number"
        ),
        pytest.param([architecture("\x1b[2J\u202e".encode())], "\\x1b[2J", id="row_122_that_writes_to_the_terminal"),
    ],
)
def test_what_is_no_deepseek_model_is_not_quantized(tmp_path, keys, said):
    path = tmp_path / "in.gguf"
    path.write_bytes(gguf(keys, [tensor()], data=32))
    assert said in refused(*run("quantize", path, tmp_path), folder=tmp_path, status=2)


def test_row_123_keys_that_say_nonsense_of_the_model_do_no_harm(tmp_path):
    """The rules read block_count, expert_count and heads: texts, lists and zeros count as nothing."""
    odd = [
        key(b"deepseek2.block_count", STRING, text(b"many")),
        key(b"deepseek2.expert_count", UINT32, u32(2**32 - 1)),
        key(b"deepseek2.attention.head_count", UINT32, u32(8)),
        key(b"deepseek2.attention.head_count_kv", UINT32, u32(0)),
    ]
    source(tmp_path / "in.gguf", odd)
    for type in ("q4_k_m", "q2_k", "iq4_xs"):
        done = run_deepgguf("quantize", tmp_path / "in.gguf", "--type", type, "-o", tmp_path / f"{type}.gguf")
        assert done.status == 0, done


def test_row_124_the_source_is_not_written_over(tmp_path):
    source(tmp_path / "in.gguf")
    for output in ("in.gguf", "."):
        shutil.copy(tmp_path / "in.gguf", tmp_path / "in-Q8_0.gguf")
        path = tmp_path / ("in.gguf" if output == "in.gguf" else "in-Q8_0.gguf")
        line = refused(
            "quantize", path, "--type", "q8_0", "--overwrite", "-o", tmp_path / output, folder=tmp_path, status=2
        )
        assert "is one of the inputs" in line


@pytest.mark.parametrize("type", ["f32", "f16", "q8_0", "q4_k"])
def test_row_125_nan_and_infinity_stop_the_run_by_name(tmp_path, type):
    """In weights, and in the scales of blocks that are copied or decoded."""
    path = source(tmp_path / "in.gguf", type=type, value=float("nan"))
    for wanted in ("q8_0", "q4_k_m", "f16"):
        line = refused(
            "quantize", path, "--type", wanted, "--allow-requantize", "-o", tmp_path / "out.gguf",
            folder=tmp_path, status=1,
        )  # fmt: skip
        assert "blk.0.ffn_up.weight" in line
        assert "NaN" in line


def test_row_126_what_is_quantized_already_is_quantized_again_only_if_asked(tmp_path):
    path = source(tmp_path / "in.gguf", type="q8_0")
    line = refused("quantize", path, "--type", "q4_0", "-o", tmp_path / "out.gguf", folder=tmp_path, status=2)
    assert "is Q8_0 already" in line
    assert "--allow-requantize" in line


@pytest.mark.parametrize("type", ["i8", "f64"])
def test_row_127_types_that_cannot_be_read_are_named(tmp_path, type):
    path = source(tmp_path / "in.gguf", type=type)
    for command in ("quantize", "split"):
        line = refused(*run(command, path, tmp_path), folder=tmp_path, status=2)
        assert f"blk.0.ffn_up.weight is {type.upper()}" in line


def test_row_127_numbers_do_not_become_weights(tmp_path):
    path = source(tmp_path / "in.gguf", type="i32")
    assert "holds numbers (I32)" in refused(*run("quantize", path, tmp_path), folder=tmp_path, status=2)


@pytest.mark.parametrize("command", ["quantize", "split", "patch"])
def test_row_128_a_run_that_is_killed_resumes_to_the_same_bytes(tmp_path, command):
    path = source(tmp_path / "in.gguf", rows=MANY)
    words = {"quantize": ("--type", "q4_k_m"), "split": ("--split-max-tensors", "1"), "patch": ("--remove-key", "any")}
    (tmp_path / "whole").mkdir()
    (tmp_path / "out").mkdir()
    rest = (command, path, *words[command], "--jobs", "1")
    assert run_deepgguf(*rest, "-o", tmp_path / "whole/x.gguf").status == 0
    expected = {name: digest(tmp_path / "whole" / name) for name in names(tmp_path / "whole") if name.endswith(".gguf")}
    for moment in (0.3, 0.5, 0.7, 0.9):
        process = start_deepgguf(*rest, "-o", tmp_path / "out/x.gguf", "--resume")
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    ended = run_deepgguf(*rest, "-o", tmp_path / "out/x.gguf", "--resume")
    assert ended.status in (0, 2), ended  # 2: a run that came to its end before the signal
    assert {
        name: digest(tmp_path / "out" / name) for name in names(tmp_path / "out") if name.endswith(".gguf")
    } == expected
    assert names(tmp_path / "out") == names(tmp_path / "whole")


def undo_of(kind: str, path: Path) -> None:
    """Something in the place of an undo file."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "terabyte":
        path.touch()
        os.truncate(path, 1 << 40)
    else:
        path.write_bytes({"empty": b"", "another": gguf([architecture(b"deepseek2")], [tensor()])}[kind])


@pytest.mark.parametrize("kind", ["fifo", "device", "terabyte", "empty", "another"])
def test_row_129_what_is_no_old_header_undoes_nothing(tmp_path, kind):
    path = source(tmp_path / "in.gguf")
    before = digest(path)
    undo_of(kind, tmp_path / "in.gguf.undo")
    done = run_deepgguf("patch", path, "--undo")
    assert done.status == 3
    assert "in.gguf.undo" in done.stderr
    assert digest(path) == before


def test_row_129_a_folder_is_not_patched_back(tmp_path):
    (tmp_path / "in.gguf").mkdir()
    source(tmp_path / "in.gguf.undo")
    assert "no such file" in refused("patch", tmp_path / "in.gguf", "--undo", folder=tmp_path, status=2)


@pytest.mark.parametrize("name", ["general.alignment", "general.architecture", "split.count"])
def test_row_130_what_the_layout_follows_stays(tmp_path, name):
    path = source(tmp_path / "in.gguf", [key(b"general.alignment", UINT32, u32(32)), key(b"split.count", 2, b"\1\0")])
    line = refused("patch", path, "--remove-key", name, folder=tmp_path, status=2)
    assert f"{name} cannot be removed" in line


def test_row_131_another_alignment_is_not_kept_in_place(tmp_path):
    alignment = 8
    header = gguf(
        [architecture(b"deepseek2"), key(b"any"), key(b"general.alignment", UINT32, u32(alignment))], [tensor()]
    )
    (tmp_path / "in.gguf").write_bytes(header + bytes(-len(header) % alignment + 32))
    words = ("patch", tmp_path / "in.gguf", "--remove-key", "any")
    assert f"aligned to {alignment} bytes" in refused(*words, folder=tmp_path, status=2)
    assert run_deepgguf(*words, "-o", tmp_path / "out.gguf").status == 0
    assert verify(tmp_path / "out.gguf").differences == ()


def test_row_132_keys_of_other_kinds_are_found(tmp_path):
    odd = [
        key(b"tokenizer.ggml.tokens", ARRAY, array(STRING, 2, text(b"a") + text(b"b"))),
        key(b"tokenizer.ggml.pre", ARRAY, array(STRING, 1, text(b"default"))),
        key(b"tokenizer.ggml.eos_token_id", INT32, b"\xff\xff\xff\xff"),
    ]
    done = run_deepgguf("doctor", source(tmp_path / "in.gguf", odd))
    assert done.status == 0
    assert "tokenizer.ggml.pre is ['default']" in done.stdout
    assert "tokenizer.ggml.eos_token_id is -1" in done.stdout


def test_row_132_numbers_are_not_cut_as_attention(tmp_path):
    sizes = {"head_count": 2, "key_length": 6, "value_length": 4, "kv_lora_rank": 8}
    keys = [key(f"deepseek2.attention.{name}".encode(), UINT32, u32(size)) for name, size in sizes.items()]
    keys += [architecture(b"deepseek2"), key(b"deepseek2.rope.dimension_count", UINT32, u32(2))]
    (tmp_path / "in.gguf").write_bytes(gguf(keys, [tensor(b"blk.0.attn_kv_b.weight", (8, 16), I32)], data=512))
    words = ("patch", tmp_path / "in.gguf", "--split-kv-b", "-o", tmp_path / "out.gguf")
    assert "blk.0.attn_kv_b.weight: holds numbers (I32)" in refused(*words, folder=tmp_path, status=2)


def test_row_133_a_source_that_changes_after_it_was_planned_is_refused(tmp_path):
    path = source(tmp_path / "in.gguf")
    made = plan_quantize(path, tmp_path / "out.gguf", type="q8_0")
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"abcd")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ChangedError, match=r"in\.gguf: changed"):
        made.run()
    assert names(tmp_path) == ["in.gguf"]
