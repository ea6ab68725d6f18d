"""verify is a second opinion: it comes to its result without the code that made the file."""

import pytest

from deepgguf import convert, kernels, verify


def refuse(*_: object) -> None:
    raise AssertionError("verify called a kernel")


@pytest.mark.parametrize("type", ["auto", "f16", "q8_0", "q4_k_m", "iq4_xs", "mxfp4_moe"])
@pytest.mark.parametrize("name", ["v3-bf16", "v3-fp8"])
def test_verify_calls_no_kernel(checkpoint, tmp_path, monkeypatch, name, type):
    file = tmp_path / "x.gguf"
    convert(checkpoint(name), file, type=type, jobs=2)
    for kernel in ("cast", "fp8", "quantize"):
        monkeypatch.setattr(kernels, kernel, refuse)
    assert verify(file, checkpoint(name)).differences == ()
