"""Several outputs of one reading: each as if it were made alone, whatever interrupts them."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conversions import (
    Conversion,
    check_names,
    check_resumed,
    convert,
    fail_at,
    kill_at,
    plan_several,
    undisturbed,
)
from failing_disks import FailingDisk
from small_checkpoints import small_ocr

import deepgguf
from deepgguf import kernels
from deepgguf.files.local import LocalFiles
from deepgguf.planning.joint import join
from deepgguf.planning.windows import windows
from golden import GOLDENS

SMALL = 10_000  # weights of a piece, so that the samples' tensors have several
TARGETS = ("ollama", "llama.cpp")


class CountingFiles(LocalFiles):
    """A folder that counts which bytes of it are read; it may stand for a distant one."""

    def __init__(self, folder: Path, *, distant: bool) -> None:
        super().__init__(folder)
        self.whole_windows = distant
        self.spans: list[tuple[str, int, int]] = []

    def readinto(self, file: Any, offset: int, buffer: Any) -> None:
        self.spans.append((file.name, offset, memoryview(buffer).nbytes))
        super().readinto(file, offset, buffer)


def several(source: Any, out: Path, types: Sequence[str], **choices: Any) -> tuple[deepgguf.Plan, ...]:
    plans = deepgguf.plan_several(source, out, types=types, targets=TARGETS, **choices)
    return tuple(msgspec.structs.replace(plan, piece_weights=SMALL) for plan in plans)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("v3-fp8", ("q8_0", "q4_k_m", "bf16", "f16")),
        ("v2-lite", ("q4_k_m", "iq2_xxs", "f32", "auto")),
        ("ocr", ("q8_0", "bf16")),
    ],
)
def test_files_and_manifests_are_those_made_alone_and_every_byte_is_read_once(checkpoint, tmp_path, name, types):
    matrix = GOLDENS / "imatrix" / "imatrix-v2-lite.gguf" if "iq2_xxs" in types else None
    for folder in ("alone", "together"):
        (tmp_path / folder).mkdir()
    for plan in several(checkpoint(name), tmp_path / "alone", types, imatrix=matrix):
        plan.run(jobs=1, overwrite=True)
    source = CountingFiles(checkpoint(name), distant=name == "ocr")
    plans = several(source, tmp_path / "together", types, imatrix=matrix)
    source.spans.clear()
    deepgguf.run_together(plans, jobs=2)

    made, expected = content(tmp_path / "together"), content(tmp_path / "alone")
    of_each_type = {name for name in expected if "mmproj" in name}  # whose manifest names the type that came first
    assert made.keys() == expected.keys()
    assert {n for n in made if made[n] != expected[n]} <= {n for n in of_each_type if n.endswith(".json")}

    tensors = {s for plan in plans for file in plan.files for tensor in file.tensors for s in tensor.sources}
    stored = {(blob.file, blob.offset): blob.nbytes for tensor in tensors for blob in tensor.blobs}
    assert sum(nbytes for _, _, nbytes in source.spans) == sum(stored.values())


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Weights that went through the kernels of FP8 and of quantized types."""
    counts: Counter[str] = Counter()

    def count(name: str, kernel: Any) -> None:
        def call(first: Any, *arguments: Any) -> Any:
            counts[name] += first.size
            return kernel(first, *arguments)

        monkeypatch.setattr(kernels, name, call)

    count("fp8", kernels.fp8)
    count("quantize", kernels.quantize)
    return counts


def test_weights_are_decoded_once_but_for_those_that_the_targets_cut_differently(checkpoint, tmp_path, done):
    plans = several(checkpoint("v3-fp8"), tmp_path, ("q8_0", "q4_k_m", "bf16"))
    sources = {s for plan in plans for file in plan.files for tensor in file.tensors for s in tensor.sources}
    weights = {s.name: prod(s.shape) for s in sources if s.encoding.dtype == "F8_E4M3"}
    deepgguf.run_together(plans, jobs=1)
    assert done["fp8"] == sum(weights.values()) + sum(n for name, n in weights.items() if "kv_b_proj" in name)


def test_what_both_targets_have_alike_is_quantized_once(checkpoint, tmp_path, done):
    of_one = {}
    for type in ("q8_0", "q5_0"):
        deepgguf.convert(checkpoint("ocr"), tmp_path / f"{type}.gguf", type=type, jobs=1)
        of_one[type] = done.pop("quantize")
    deepgguf.run_together(several(checkpoint("ocr"), tmp_path, ("q8_0", "q5_0")), jobs=1)
    assert done["quantize"] == sum(of_one.values())


def test_no_window_needs_a_byte_that_another_needs(checkpoint):
    joint = join(several(checkpoint("v3-fp8"), Path(), ("q8_0", "bf16")))
    spans = sorted(span for window in windows(joint) for span in window.ranges())
    assert all(one.file != other.file or one.stop <= other.start for one, other in pairwise(spans))


def test_plans_of_different_sources_are_refused(checkpoint, tmp_path):
    plans = [deepgguf.plan(checkpoint(name), tmp_path / f"{name}.gguf") for name in ("v3-fp8", "v2-lite")]
    with pytest.raises(deepgguf.UsageError, match="carry out plans of different sources one by one"):
        deepgguf.run_together(plans)


def test_every_plan_has_its_own_choices_and_report(checkpoint, tmp_path):
    source = checkpoint("v3-bf16")
    plans = [
        deepgguf.plan(source, tmp_path / "a.gguf", type="q4_k_m", tensor_types={"ffn_down": "q8_0"}),
        deepgguf.plan(source, tmp_path / "b.gguf", type="q8_0", target="llama.cpp", split_max_tensors=30),
    ]
    reports = deepgguf.run_together(plans, sha256=True)
    assert [[file.path.name for file in report.files] for report in reports] == [
        ["a.gguf"],
        ["b-00001-of-00002.gguf", "b-00002-of-00002.gguf"],
    ]
    alone = plans[0].run(overwrite=True, sha256=True)
    assert reports[0].files == alone.files
    assert reports[0].written == alone.written


def test_the_files_of_a_plan_get_their_names_while_others_are_at_work(tmp_path):
    source, out = small_ocr(tmp_path / "ocr"), tmp_path / "out"
    plans = deepgguf.plan_several(source, out, types=("bf16",), targets=TARGETS)
    mmproj = deepgguf.plan(source, out / "only.gguf", target="llama.cpp", only="mmproj")
    seen = []
    out.mkdir()
    deepgguf.run_together(
        (mmproj, *plans), jobs=1, progress=lambda _: seen.append({path.name for path in out.rglob("*.gguf")})
    )
    assert {"mmproj-only.gguf"} in seen
    assert len(seen[-1]) < 4


@pytest.fixture(scope="module")
def several_of_ocr(tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    """Two types of a model with pictures, and the mmproj of both."""
    folder = tmp_path_factory.mktemp("several")
    choices = {"types": ("q8_0", "q5_0"), "targets": "llama.cpp"}
    return undisturbed(small_ocr(folder / "ocr"), folder / "undisturbed", plan_several, **choices)


def calls_of(conversion: Conversion, out: Path) -> int:
    disk = FailingDisk(0)
    out.mkdir()
    convert(conversion, out, disk)
    return disk.calls


@pytest.mark.parametrize("disturbed", [kill_at, fail_at])
def test_whatever_ends_them_all_are_resumed(several_of_ocr, tmp_path, disturbed):
    calls, ends = calls_of(several_of_ocr, tmp_path / "counted"), Counter()
    for k in {*random.Random(1).sample(range(1, calls), 8), *range(calls - 12, calls + 1, 2)}:
        out = tmp_path / f"{k}"
        out.mkdir()
        assert disturbed(several_of_ocr, out, k)
        check_names(several_of_ocr, out)
        ends[len([*out.glob("*.gguf")])] += 1
        check_resumed(several_of_ocr, out)
    assert ends[0] and ends[3]
    assert ends[1] + ends[2]  # one plan's files had their names, those of the other had not


def test_one_of_them_is_resumed_alone(several_of_ocr, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert kill_at(several_of_ocr, out, calls_of(several_of_ocr, tmp_path / "counted") // 2)
    deepgguf.convert(several_of_ocr.source, out, resume=True, type="q5_0", target="llama.cpp", only="text")
    check_resumed(several_of_ocr, out)
