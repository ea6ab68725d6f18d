"""Several outputs on the command line and in the library: what is asked for, where it goes, what is said."""

import json
from pathlib import Path

import pytest
from test_command_line import lines, run

import deepgguf
from deepgguf.errors import UsageError
from golden import GOLDENS

TWO = ("--type", "q8_0,q4_k_m", "--target", "ollama,llama.cpp")


def gguf_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.gguf"))


def test_the_plan_shows_every_file_and_what_all_take_together(checkpoint, tmp_path):
    said = lines("plan", checkpoint("ocr"), "-o", tmp_path, *TWO)
    table = [line.split() for line in said[said.index("Files") + 2 :]]
    assert [row[1:4] for row in table[:5]] == [
        ["ocr-Q8_0.gguf", "ollama", "q8_0"],
        ["ocr-Q4_K_M.gguf", "ollama", "q4_k_m"],
        ["ocr-Q8_0.gguf", "llama.cpp", "q8_0"],
        ["mmproj-ocr-BF16.gguf", "llama.cpp", "q8_0"],
        ["ocr-Q4_K_M.gguf", "llama.cpp", "q4_k_m"],
    ]
    facts = {line.split()[0]: line for line in said[: said.index("Files")] if line}
    total = sum(int(row[5].replace(",", "")) for row in table[:5])
    planned = json.loads("".join(lines("plan", checkpoint("ocr"), "-o", tmp_path, *TWO, "--json")))
    assert planned["size"] == total == sum(disk["needed"] for disk in planned["disks"])
    assert [facts[name].split("  ")[0].strip() for name in ("from", "to", "disk", "memory", "work")] == [
        "from", "to", "disk", "memory", "work",
    ]  # fmt: skip
    assert "4 outputs" in facts["to"]
    assert planned["outputs"][2]["folder"] == str(tmp_path / "llama.cpp")
    assert planned["memory"] < 300e6 + 4 * 40e6


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ((), ["v2-lite-Q4_0.gguf", "v2-lite-Q8_0.gguf"]),
        (("--layout", "folders"), ["v2-lite-Q4_0/v2-lite-Q4_0.gguf", "v2-lite-Q8_0/v2-lite-Q8_0.gguf"]),
        (("--target", "llama.cpp", "--target", "ollama"),
         [f"{target}/v2-lite-{type}.gguf" for target in ("llama.cpp", "ollama") for type in ("Q4_0", "Q8_0")]),
    ],
)  # fmt: skip
def test_files_lie_side_by_side_but_of_two_targets_apart(checkpoint, tmp_path, layout, expected):
    said = lines("convert", checkpoint("v2-lite"), "-o", tmp_path, "--type", "q8_0", "--type", "Q4_0", *layout)
    assert gguf_files(tmp_path) == expected
    written = [line.split()[1] for line in said if line.startswith("wrote ")]
    assert sorted(written) == [str(tmp_path / name) for name in expected]
    assert sum(line.startswith("run it: ") for line in said) == len(expected)


def test_the_report_in_json_has_every_output(checkpoint, tmp_path):
    report = json.loads("".join(lines("convert", checkpoint("ocr"), "-o", tmp_path, *TWO, "--json")))
    assert [(each["type"], each["target"], len(each["files"])) for each in report["outputs"]] == [
        ("q8_0", "ollama", 1),
        ("q4_k_m", "ollama", 1),
        ("q8_0", "llama.cpp", 2),
        ("q4_k_m", "llama.cpp", 2),  # the mmproj is the same file
    ]
    assert len(gguf_files(tmp_path)) == 5
    assert report["written"] == sum(each["written"] for each in report["outputs"])


def test_a_gguf_file_is_quantized_to_several_types_as_to_each_alone(checkpoint, tmp_path):
    source = tmp_path / "v2-BF16.gguf"
    deepgguf.convert(checkpoint("v2-lite"), source, target="llama.cpp", type="bf16")
    (tmp_path / "several").mkdir()
    lines("quantize", source, "--type", "q8_0,q4_k_m", "-o", tmp_path / "several", "--layout", "folders")
    for type in ("Q8_0", "Q4_K_M"):
        deepgguf.quantize(source, tmp_path / "alone.gguf", type=type, overwrite=True)
        made = tmp_path / "several" / f"v2-{type}" / f"v2-{type}.gguf"
        assert made.read_bytes() == (tmp_path / "alone.gguf").read_bytes()


def test_what_only_quantized_files_have_is_for_those_that_are(checkpoint):
    matrix = GOLDENS / "imatrix" / "imatrix-v2-lite.gguf"
    plans = deepgguf.plan_several(checkpoint("v2-lite"), types=("q4_k_m", "bf16"), imatrix=matrix)
    assert [plan.importance is None for plan in plans] == [False, True]
    with pytest.raises(UsageError, match='`imatrix` has no meaning for `type="f16"`'):
        deepgguf.plan_several(checkpoint("v2-lite"), types=("f16", "bf16"), imatrix=matrix)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"types": ("q8_0", "q8_0")}, "`types` names q8_0 twice; name each once"),
        ({"types": ("q8_0", "Q8_0")}, "`types` names q8_0 twice; name each once"),
        ({"types": ("q8_0", "all")}, "`type`: 'all' is unknown; choose from auto, "),
        ({"targets": ("ollama", "vllm")}, "`target`: 'vllm' is unknown; choose from ollama, llama.cpp"),
        ({"types": ("q8_0", 4)}, "`types`: a tuple is not text or a list of texts"),
        ({"types": "q8_0", "layout": "tree"}, "`layout`: 'tree' is unknown; choose from flat, folders"),
        ({"types": "q8_0", "type": "q4_0"}, "`type` contradicts `types`, which names those of several outputs; "),
        ({"types": ("q8_0", "q4_0"), "like": "x.gguf"}, "`types` contradicts `like`, which chooses every type; "),
        ({"targets": ("ollama", "llama.cpp"), "budget": "1G"}, "`budget` chooses the types of one output; "),
        ({"types": ("q8_0", "q4_0"), "output": "x.gguf"}, "`output`: x.gguf is one file, and several are made; "),
    ],
)
def test_choices_that_make_no_sense_for_several_outputs_are_refused(checkpoint, choices, message):
    with pytest.raises(UsageError) as error:
        deepgguf.plan_several(checkpoint("v2-lite"), **choices)
    assert str(error.value).startswith(message)


def test_two_types_whose_different_files_have_one_name_are_refused_by_the_plan(checkpoint):
    with pytest.raises(
        UsageError, match="`types`: auto and source make different files of the same name, v4-MXFP4.gguf; "
    ):
        deepgguf.plan_several(checkpoint("v4"), types=("auto", "source"), targets="llama.cpp", layout="folders")


def test_a_part_of_a_gguf_set_is_that_part_of_every_type(checkpoint, tmp_path):
    source = tmp_path / "v2-BF16.gguf"
    deepgguf.convert(checkpoint("v2-lite"), source, type="bf16")
    plans = deepgguf.plan_quantize_several(source, types=("q8_0", "q4_0"), split_max_tensors=20, part=2)
    assert [[file.name for file in plan.files] for plan in plans] == [
        ["v2-Q8_0-00002-of-00019.gguf"],
        ["v2-Q4_0-00002-of-00019.gguf"],
    ]


def test_errors_and_warnings_say_which_output_they_are_of(checkpoint, tmp_path):
    matrix = GOLDENS / "imatrix" / "imatrix-v3-bf16.gguf"
    said = lines("convert", checkpoint("v3-bf16"), "-o", tmp_path, *TWO, "--imatrix", matrix, "--report-error")
    assert [line for line in said if line.startswith("quantization error")] == [
        f"quantization error of {type} for {target}, relative RMS, the largest of each type:"
        for target in ("ollama", "llama.cpp")
        for type in ("q8_0", "q4_k_m")
    ]
    warnings = [line.split(": ")[1] for line in said if line.startswith("warning: ")]
    assert warnings == ["q4_k_m for ollama", "q4_k_m for llama.cpp"]


def test_a_folder_gets_one_card_and_what_is_in_its_way_is_said_before_the_work(checkpoint, tmp_path):
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / "README.md").write_text("mine")
    (tmp_path / "README.md").write_text("mine, and in nobody's way")
    done = run("convert", checkpoint("v2-lite"), "-o", tmp_path, *TWO, "--card")
    assert (done.returncode, gguf_files(tmp_path)) == (2, [])
    (tmp_path / "llama.cpp" / "README.md").unlink()
    done = run("convert", checkpoint("v2-lite"), "-o", tmp_path, *TWO, "--card")
    assert [line for line in done.stdout.splitlines() if line.endswith("README.md")] == [
        f"wrote {tmp_path / target / 'README.md'}" for target in ("ollama", "llama.cpp")
    ]
    card = (tmp_path / "ollama" / "README.md").read_text()
    assert [line.split()[1] for line in card.splitlines() if line.startswith("deepgguf ")] == ["convert"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--ollama", "v2"),
            "--ollama makes one model, and several outputs are asked for; make them, then bring each ",
        ),
        (("-o", "s3://bucket/models/"), "s3://bucket/models: several outputs at once are written to folders only; "),
    ],
)
def test_one_model_of_ollamas_and_an_object_store_take_one_output(checkpoint, arguments, message):
    done = run("convert", checkpoint("v2-lite"), "--type", "q8_0,q4_0", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"deepgguf: {message}")
