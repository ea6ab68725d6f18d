"""What the plan predicts is what is written, and the written bytes do not depend on the number of jobs."""

import hashlib

import pytest

from deepgguf import convert, plan

SAMPLES = ("v3-bf16", "v3-fp8", "v3-tied", "v2-lite", "ocr")
TARGETS = ("ollama", "llama.cpp")


@pytest.mark.parametrize("type", ["auto", "f16", "f32", "q8_0", "q4_k_m"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SAMPLES)
def test_the_files_have_the_planned_names_and_sizes(checkpoint, tmp_path, name, target, type):
    planned = plan(checkpoint(name), tmp_path, target=target, type=type)
    convert(checkpoint(name), tmp_path, target=target, type=type, jobs=2, manifest=False)
    written = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert written == {file.name: file.size for file in planned.files}
    assert planned.size == sum(written.values())


@pytest.mark.parametrize("split", [{"split_max_size": 1_000_000}, {"split_max_tensors": 7}], ids=str)
@pytest.mark.parametrize("name", ["v3-bf16", "ocr"])
def test_the_files_of_a_split_set_have_the_planned_names_and_sizes(checkpoint, tmp_path, name, split):
    planned = plan(checkpoint(name), tmp_path, target="llama.cpp", **split)
    convert(checkpoint(name), tmp_path, target="llama.cpp", jobs=2, manifest=False, **split)
    assert len(planned.files) > 2
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == {f.name: f.size for f in planned.files}


@pytest.mark.parametrize("type", ["auto", "q4_k_m"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", SAMPLES)
def test_the_bytes_do_not_depend_on_jobs(checkpoint, tmp_path, name, target, type):
    digests = []
    for jobs in (1, 2, 7):
        folder = tmp_path / f"{jobs}"
        folder.mkdir()
        convert(checkpoint(name), folder, target=target, type=type, jobs=jobs, manifest=False)
        digests.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()})
    assert digests[0] == digests[1] == digests[2]
    assert digests[0]


def test_an_mmproj_is_never_split_because_the_engine_loads_one_file(checkpoint):
    files = plan(checkpoint("ocr"), target="llama.cpp", split_max_tensors=7).files
    mmproj = [file for file in files if file.kind == "mmproj"]
    assert [file.name for file in mmproj] == ["mmproj-ocr-BF16.gguf"]
    assert not [key for key in mmproj[0].keys if key.startswith("split.")]
