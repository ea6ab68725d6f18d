"""Every writing call fails once, is interrupted once, and the process is killed once before each: --resume makes the same bytes."""

from pathlib import Path

import pytest
from conversions import Conversion, every_call, fail_at, interrupt_at, kill_at, undisturbed
from small_checkpoints import small_ocr, small_v3


def v3(folder: Path) -> Conversion:
    return undisturbed(small_v3(folder / "v3"), folder / "undisturbed")


def quantized(folder: Path) -> Conversion:
    return undisturbed(small_v3(folder / "v3"), folder / "undisturbed", type="q8_0")


def ocr(folder: Path) -> Conversion:
    return undisturbed(small_ocr(folder / "ocr"), folder / "undisturbed", target="llama.cpp")


def split_set(folder: Path) -> Conversion:
    return undisturbed(small_v3(folder / "v3"), folder / "undisturbed", split_max_tensors=12)


FILES = {v3: 1, quantized: 1, ocr: 2, split_set: 3}
CASES = [*((made, disturbed) for made in FILES for disturbed in (fail_at, kill_at)), (v3, interrupt_at)]


@pytest.mark.parametrize(("made", "disturbed"), CASES)
def test_whichever_call_is_disturbed_the_next_run_makes_the_same_bytes(tmp_path, made, disturbed):
    conversion = made(tmp_path)
    assert len(conversion.hashes) == FILES[made]
    (tmp_path / "runs").mkdir()
    assert every_call(conversion, tmp_path / "runs", disturbed) > 25 * FILES[made] ** 0.5
