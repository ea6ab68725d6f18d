"""Damaged config.json of every architecture: a model that promises sound tensors, or a CheckpointError."""

import contextlib
import json
from itertools import islice

import pytest
from damaged_json import VALUES, damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgguf.errors import CheckpointError
from deepgguf.formats.json_text import parse_json
from deepgguf.models import find_family
from deepgguf.samples.configs import config

SAMPLES = {kind: config(kind, "sample") for kind in ("v3", "v3-fp8", "v2-lite", "ocr")}


def read(text: bytes) -> int:
    """Parses as `convert` does; returns the number of promised tensors it checked."""
    value = parse_json(text, "config.json")
    if not isinstance(value, dict):
        return 0
    family = find_family(value, "config.json")
    model = family.parse(value, "config.json")
    count = 0
    for row in islice(family.table(model, 0), 300):
        assert row.source.isprintable()
        assert all(type(dimension) is int and dimension >= 0 for dimension in row.shape)
        family.drop_reason(model, row.source)
        count += 1
    assert all(isinstance(limit, str) for limit in family.limits(model))
    return count


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(list(SAMPLES)).flatmap(lambda kind: damaged(SAMPLES[kind])))
def test_a_damaged_config_is_refused_or_promises_sound_tensors(text):
    with contextlib.suppress(CheckpointError):
        read(text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(SAMPLES)), st.data())
def test_any_value_in_place_of_any_field_is_refused_or_read(kind, data):
    key = data.draw(st.sampled_from(list(SAMPLES[kind])))
    changed = SAMPLES[kind] | {key: data.draw(VALUES)}
    with contextlib.suppress(CheckpointError):
        read(json.dumps(changed).encode())


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_undamaged_config_is_read(kind):
    assert read(json.dumps(SAMPLES[kind]).encode()) > 40
