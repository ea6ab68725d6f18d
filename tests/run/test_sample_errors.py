"""The sampled errors are those that a conversion makes: on all weights the same, on a sample nearly."""

import pickle

import pytest

from deepgguf import convert, plan
from deepgguf.encodings import PLAIN
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.run.sample_errors import ErrorSampler, SampledErrors, Sampling

CASES = [("v3-fp8", "ollama"), ("v3-bf16", "llama.cpp"), ("v2-lite", "llama.cpp")]
WHOLE = 1 << 40


def measured(made, sampler: ErrorSampler, *types: GGMLType) -> dict[str, SampledErrors]:
    """By name, of the plan's own types or of `types`."""
    tensors = [t for file in made.files for t in file.tensors if t.info.type not in PLAIN]
    with made.source:
        return {t.info.name: next(sampler.measure(Sampling(t, types or (t.info.type,)))) for t in tensors}


@pytest.mark.parametrize(("name", "target"), CASES)
def test_errors_on_all_weights_are_those_of_the_conversion(checkpoint, tmp_path, name, target):
    report = convert(checkpoint(name), tmp_path / "x.gguf", type="q4_k_m", target=target, measure_error=True, jobs=2)
    made = plan(checkpoint(name), type="q4_k_m", target=target)
    by_conversion = {t.name: t.relative_rms**2 for t in report.files[0].tensors if t.squares}
    by_sample = {name: one.errors[0] for name, one in measured(made, ErrorSampler(made, WHOLE)).items()}
    assert by_sample.keys() == by_conversion.keys()
    assert by_sample == pytest.approx(by_conversion, rel=1e-4)


@pytest.mark.parametrize(("name", "target"), CASES)
def test_a_sample_comes_near_and_is_the_same_each_time(checkpoint, name, target):
    made = plan(checkpoint(name), type="q4_k_m", target=target)
    whole, sample = (measured(made, ErrorSampler(made, weights)) for weights in (WHOLE, 1 << 14))
    assert sample == measured(made, pickle.loads(pickle.dumps(ErrorSampler(made, 1 << 14))))
    for tensor, one in whole.items():
        assert sample[tensor].errors[0] == pytest.approx(one.errors[0], rel=0.25), tensor
        assert sample[tensor].energy == pytest.approx(one.energy, rel=0.35), tensor


def test_the_plain_type_loses_nothing(checkpoint):
    made = plan(checkpoint("v3-bf16"), type="q4_k_m")
    found = measured(made, ErrorSampler(made), GGMLType.BF16, GGMLType.Q8_0)
    assert {one.errors[0] for one in found.values()} == {0.0}
    assert all(0 < one.errors[1] < 1e-3 for one in found.values())
