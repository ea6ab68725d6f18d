"""What llama-quantize makes of the samples, or refuses: the same keys and bytes, and the same refusals.

goldens/quantize-runs.json lists its runs, with the SHA-256 of what came of each. Some have a golden of their own as well,
which says what differs; `python tests/quantize_runs.py FOLDER` says so of all, where their goldens are.
"""

from pathlib import Path

import pytest

from deepgguf import convert, plan, verify
from deepgguf.errors import UsageError
from golden import GOLDENS, read_golden
from quantize_runs import CHOICES, Run, differences, digest, digested_runs, made, without_split


def has_golden(run: Run) -> bool:
    return (GOLDENS / run.folder / f"{run.name}.json").exists()


def compared_elsewhere(run: Run) -> bool:
    return has_golden(run) and not run.options  # test_goldens.py


def each(runs) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("run", [pytest.param(run, id=f"{run.folder}-{run.name}") for run in runs])


MADE = [run for run in digested_runs() if run.status == 0 and not compared_elsewhere(run)]


@each(run for run in MADE if has_golden(run))
def test_an_option_gives_the_bytes_and_keys_of_llama_quantize(run, checkpoint, tmp_path):
    found = made(run, checkpoint(run.checkpoint), tmp_path)
    assert differences(found, without_split(read_golden(run.folder, run.name))) == []


@each(run for run in MADE if not has_golden(run))
def test_a_mixture_gives_the_bytes_and_keys_of_llama_quantize(run, checkpoint, tmp_path):
    assert digest(made(run, checkpoint(run.checkpoint), tmp_path)) == run.digest


@each(run for run in digested_runs() if run.status)
def test_what_llama_quantize_refuses_or_dies_of_is_refused_in_the_plan(run, checkpoint):
    with pytest.raises(UsageError):
        plan(checkpoint(run.checkpoint), only="text", **run.choices)


def test_every_option_of_llama_quantize_has_a_run():
    given = {word for run in digested_runs() for word in run.options}
    assert given >= CHOICES.keys()


def test_a_file_of_types_has_one_pattern_or_several_to_a_line(checkpoint, tmp_path):
    (tmp_path / "types.txt").write_text("ffn_down=q6_k attn_output=q8_0\n\n  token_embd=q3_k\n")
    by_file = plan(checkpoint("v3-bf16"), type="q4_k_m", tensor_type_file=tmp_path / "types.txt")
    by_choice = plan(
        checkpoint("v3-bf16"), type="q4_k_m", tensor_types=["ffn_down=q6_k", "attn_output=q8_0", "token_embd=q3_k"]
    )
    assert by_file.files == by_choice.files


def test_the_caller_s_own_patterns_come_before_those_of_the_file(checkpoint, tmp_path):
    (tmp_path / "types.txt").write_text("token_embd=q3_k")
    made = plan(
        checkpoint("v3-bf16"), type="q8_0", tensor_types="token_embd=q6_k", tensor_type_file=tmp_path / "types.txt"
    )
    assert {t.info.type.name for t in made.files[0].tensors if t.info.name == "token_embd.weight"} == {"Q6_K"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"ffn_down=q6_k\nattn_output", r"types\.txt, line 2: 'attn_output' is not of the form PATTERN=TYPE"),
        (b"\nffn_down=q17", r"types\.txt, line 2: 'q17' is not a type that deepgguf writes"),
        (b"ffn_(=q8_0", r"types\.txt, line 1: 'ffn_\(' is not a regular expression"),
        (b"\xff", r"types\.txt: is not UTF-8: byte 0"),
    ],
)
def test_a_faulty_file_of_types_is_refused_by_its_line(checkpoint, tmp_path, text, said):
    (tmp_path / "types.txt").write_bytes(text)
    with pytest.raises(UsageError, match=said):
        plan(checkpoint("v3-bf16"), type="q4_k_m", tensor_type_file=tmp_path / "types.txt")


def test_a_missing_file_of_types_is_a_usage_error(checkpoint, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        plan(checkpoint("v3-bf16"), type="q4_k_m", tensor_type_file=tmp_path / "types.txt")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("general.name", "is not of the form KEY=TYPE:VALUE"),
        ("general.name=Mine", "is not of the form KEY=TYPE:VALUE"),
        ("general.name=text:Mine", "'text' is not a type; choose from int, float, bool, str"),
        ("deepseek2.expert_used_count=int:eight", "'eight' is not a whole number below 2^32"),
        ("deepseek2.expert_used_count=int:4294967296", "is not a whole number below 2^32"),
        ("deepseek2.rope.scaling.factor=float:1e99", "'1e99' is not a number that FLOAT32 holds"),
        ("tokenizer.ggml.add_bos_token=bool:yes", "'yes' is not true or false"),
        ("general.name=str:" + "x" * 128, "is not UTF-8 of at most 127 bytes"),
        ("general.architecture=str:llama", "cannot be set: the file's layout follows it"),
        ("deepseek2.expert_count=str:six", "deepseek2.expert_count is a whole number, and text was given"),
        ("tokenizer.ggml.tokens=str:a", "tokenizer.ggml.tokens is a list, and text was given"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(checkpoint, option, said):
    with pytest.raises(UsageError, match=f"`override_kv`.*{said.replace('^', chr(92) + '^')}"):
        plan(checkpoint("v3-bf16"), target="llama.cpp", override_kv=option)


def test_the_lost_sign_of_a_number_is_said(checkpoint):
    made = plan(checkpoint("v3-bf16"), override_kv="new.key=int:-5")
    assert made.files[0].keys["new.key"].value == 5
    assert "new.key is stored as 5, without its sign, as llama-quantize does" in made.warnings


def test_keys_can_be_set_in_an_unquantized_file(checkpoint):
    made = plan(checkpoint("v3-bf16"), override_kv=["general.name=str:First", "general.name=str:Mine"])
    assert made.files[0].keys["general.name"].value == "Mine"


@pytest.mark.parametrize("name", ["pure", "leave_output_tensor"])
def test_an_option_of_quantized_files_is_refused_for_others(checkpoint, name):
    with pytest.raises(UsageError, match=f'`{name}` has no meaning for `type="auto"`'):
        plan(checkpoint("v3-bf16"), **{name: True})


@pytest.mark.parametrize("name", ["include_weights", "exclude_weights"])
def test_a_filter_without_a_matrix_is_refused(checkpoint, name):
    with pytest.raises(UsageError, match=f"`{name}` has no meaning without `imatrix`"):
        plan(checkpoint("v3-bf16"), type="q4_k_m", **{name: "ffn"})


def test_a_filter_that_matches_nothing_is_said(checkpoint):
    matrix = GOLDENS / "imatrix" / "imatrix-v3-bf16.gguf"
    made = plan(checkpoint("v3-bf16"), type="q4_k_m", imatrix=matrix, include_weights=["ffn_dwon"])
    assert "no entry of the importance matrix has ffn_dwon in its name; check the spelling" in made.warnings
    assert made.importance is None


def test_an_excluded_tensor_is_not_served_by_another_of_the_same_input(checkpoint):
    matrix = GOLDENS / "imatrix" / "imatrix-v3-bf16.gguf"
    made = plan(checkpoint("v3-bf16"), type="q4_k_m", imatrix=matrix, exclude_weights="ffn_gate_exps")
    served = {t.info.name: t.importance is not None for t in made.files[0].tensors}
    assert (served["blk.1.ffn_gate_exps.weight"], served["blk.1.ffn_up_exps.weight"]) == (False, True)


@pytest.mark.parametrize(
    "chosen",
    [
        {"type": "q4_k_m", "pure": True},
        {"type": "q4_k_m", "leave_output_tensor": True},
        {"type": "q4_k_m", "override_kv": ["deepseek2.expert_used_count=int:1", "new.key=str:x"]},
        {"type": "q4_k_m", "imatrix": GOLDENS / "imatrix" / "imatrix-v3-bf16.gguf", "exclude_weights": "ffn_down"},
    ],
    ids=lambda chosen: [*chosen][-1],
)
def test_verify_makes_anew_what_was_made_with_an_option(checkpoint, tmp_path: Path, chosen):
    convert(checkpoint("v3-bf16"), tmp_path / "x.gguf", jobs=2, **chosen)
    assert verify(tmp_path / "x.gguf", checkpoint("v3-bf16"), remake=True, jobs=2, **chosen).source.remade


@pytest.mark.parametrize("chosen", [{"pure": True}, {"leave_output_tensor": True}], ids="".join)
def test_verify_finds_by_itself_which_types_an_option_gave(checkpoint, tmp_path: Path, chosen):
    convert(checkpoint("v3-bf16"), tmp_path / "x.gguf", type="q4_k_m", jobs=2, **chosen)
    verify(tmp_path / "x.gguf", checkpoint("v3-bf16"), remake=True, jobs=2)
