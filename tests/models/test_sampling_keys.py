"""general.sampling.*: what generation_config.json says of drawing tokens."""

import pytest

import deepgguf
from deepgguf.formats.gguf.types import Value, ValueType
from deepgguf.models.sampling_keys import sampling_keys
from tiny_checkpoint import V3, weights, write_checkpoint


def test_fields_have_the_keys_and_types_of_llamacpps_converter():
    found = sampling_keys({"temperature": 1, "top_p": 0.95, "top_k": 50, "repetition_penalty": 1.1, "sequence": "a;b"})
    assert found == {
        "general.sampling.temp": Value(ValueType.FLOAT32, 1.0),
        "general.sampling.top_p": Value(ValueType.FLOAT32, 0.95),
        "general.sampling.top_k": Value(ValueType.INT32, 50),
        "general.sampling.penalty_repeat": Value(ValueType.FLOAT32, 1.1),
        "general.sampling.sequence": Value(ValueType.STRING, "a;b"),
    }


@pytest.mark.parametrize("value", [None, True, "0.5", [0.5], 1e300, float("nan")])
def test_what_is_no_number_for_an_engine_is_left_out(value):
    assert sampling_keys({"top_p": value}) == {}


@pytest.mark.parametrize(("target", "expected"), [("llama.cpp", ["general.sampling.temp"]), ("ollama", [])])
def test_only_llamacpps_layout_has_them(tmp_path, target, expected):
    source = write_checkpoint(tmp_path / "x", V3, weights(V3), files={"generation_config.json": {"temperature": 0.6}})
    keys = deepgguf.plan(source, target=target).files[0].keys
    assert [key for key in keys if ".sampling." in key] == expected
