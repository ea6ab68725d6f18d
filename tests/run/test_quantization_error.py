"""The error that is reported is that of the file's weights, as the package gguf decodes them."""

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

from deepgguf import Counts, FileReport, Report, Squares, TensorResult, plan


def weights(file) -> dict[str, np.ndarray]:
    tensors = gguf.GGUFReader(file).tensors
    return {t.name: dequantize(t.data, t.tensor_type).astype(np.float64).reshape(-1) for t in tensors}


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("type", ["q8_0", "q4_k_m"])
def test_every_quantized_tensor_has_its_relative_rms(checkpoint, tmp_path, type, jobs):
    plan(checkpoint("v3-bf16"), tmp_path / "exact.gguf", type="f32").run()
    made = plan(checkpoint("v3-bf16"), tmp_path / "quantized.gguf", type=type)
    (report,) = made.run(jobs=jobs, measure_error=True).files
    source, found = weights(tmp_path / "exact.gguf"), weights(tmp_path / "quantized.gguf")
    expected = {
        t.info.name: np.linalg.norm(found[t.info.name] - source[t.info.name]) / np.linalg.norm(source[t.info.name])
        for t in made.files[0].tensors
        if t.info.type.name not in ("F32", "BF16")
    }
    assert {t.name: t.relative_rms for t in report.tensors if t.squares} == pytest.approx(expected, rel=1e-4)


def test_the_largest_of_each_type_is_reported(tmp_path):
    def result(name, type, error):
        return TensorResult(name, type, "", Counts(), Squares(error**2, 1.0))

    tensors = (result("a", "Q4_K", 0.07), result("b", "Q4_K", 0.08), result("c", "Q6_K", 0.02))
    report = Report((FileReport(tmp_path, 0, tensors),), 0.0, 0, 0)
    assert report.largest_errors == {"Q4_K": tensors[1], "Q6_K": tensors[2]}


def test_without_measuring_no_error_is_reported(checkpoint, tmp_path):
    assert plan(checkpoint("v3-bf16"), tmp_path / "x.gguf", type="q8_0").run().largest_errors == {}
