"""The error that is reported is that of the file's weights, as the package gguf decodes them."""

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

from deepgguf.api import carry_out, plan
from deepgguf.run.settings import Settings
from deepgguf.verification.quantization_error import ErrorMeter, TensorError, largest_by_type


def weights(file) -> dict[str, np.ndarray]:
    tensors = gguf.GGUFReader(file).tensors
    return {t.name: dequantize(t.data, t.tensor_type).astype(np.float64).reshape(-1) for t in tensors}


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("type", ["q8_0", "q4_k_m"])
def test_every_quantized_tensor_has_its_relative_rms(sample, tmp_path, type, jobs):
    exact, meter = plan(sample("v3"), tmp_path / "exact.gguf", type="f32"), ErrorMeter()
    carry_out(exact, Settings(folder=tmp_path))
    made = plan(sample("v3"), tmp_path / "quantized.gguf", type=type)
    carry_out(made, Settings(folder=tmp_path, jobs=jobs), observe=meter.observe)
    source, found = weights(tmp_path / "exact.gguf"), weights(tmp_path / "quantized.gguf")
    expected = {
        t.info.name: np.linalg.norm(found[t.info.name] - source[t.info.name]) / np.linalg.norm(source[t.info.name])
        for t in made.files[0].tensors
        if t.info.type.name not in ("F32", "BF16")
    }
    assert {e.name: e.relative_rms for e in meter.results()} == pytest.approx(expected, rel=1e-4)


def test_the_largest_of_each_type():
    errors = (TensorError("a", "Q4_K", 0.07), TensorError("b", "Q4_K", 0.08), TensorError("c", "Q6_K", 0.02))
    assert largest_by_type(errors) == {"Q4_K": errors[1], "Q6_K": errors[2]}
