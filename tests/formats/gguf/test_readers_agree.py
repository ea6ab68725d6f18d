"""`deepgguf.inspect` and the package `gguf`, which share no code, read the same from every output."""

import pytest
from gguf import GGUFReader

from deepgguf import convert, inspect
from deepgguf.formats.gguf.decode import read_header

SAMPLES = ("v3-bf16", "v3-fp8", "v3-tied", "v2-lite", "ocr")


@pytest.fixture(scope="module")
def outputs(checkpoint, tmp_path_factory):
    made = {}

    def make(name: str, target: str):
        if (name, target) not in made:
            report = convert(checkpoint(name), tmp_path_factory.mktemp("out"), target=target, jobs=2)
            made[name, target] = [(file.path, GGUFReader(file.path)) for file in report.files]
        return made[name, target]

    return make


def fields(reader: GGUFReader):
    return {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def plain(value):
    return list(value) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize("name", SAMPLES)
def test_both_read_every_key_with_the_same_type_and_value(outputs, name, target):
    for path, reader in outputs(name, target):
        ours = {}
        for key, value in read_header(path).keys.items():
            types = [value.type.name] if value.item_type is None else [value.type.name, value.item_type.name]
            ours[key] = (types, plain(value.value))
        theirs = {key: ([type.name for type in field.types], field.contents()) for key, field in fields(reader).items()}
        assert list(ours) == list(theirs)
        assert ours == theirs


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize("name", SAMPLES)
def test_inspect_shows_the_same_keys_in_the_files_order(outputs, name, target):
    for path, reader in outputs(name, target):
        shown = inspect(path).keys
        assert [key.name for key in shown] == list(fields(reader))
        for key, field in zip(shown, fields(reader).values(), strict=True):
            value = field.contents()
            assert key.type == field.types[0].name
            if key.length is None:
                assert key.value == value
            else:
                assert (key.item_type, key.length) == (field.types[1].name, len(value))
                assert key.value == value[: len(key.value)]


@pytest.mark.parametrize("target", ["ollama", "llama.cpp"])
@pytest.mark.parametrize("name", SAMPLES)
def test_inspect_shows_the_same_tensors_at_the_same_places(outputs, name, target):
    for path, reader in outputs(name, target):
        shown = inspect(path)
        assert shown.files[0].data_offset == reader.data_offset
        assert [(t.name, t.type, t.shape, t.parameters, t.offset, t.bytes) for t in shown.tensors] == [
            (
                t.name,
                t.tensor_type.name,
                tuple(t.shape.tolist()[::-1]),
                int(t.n_elements),
                int(t.data_offset) - int(reader.data_offset),
                int(t.n_bytes),
            )
            for t in reader.tensors
        ]
