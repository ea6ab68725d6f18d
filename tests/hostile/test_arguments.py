"""Row 99: arguments of the library that make no sense, each refused with a sentence, and numbers that become others."""

from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path

import pytest
from checkpoints import checkpoint, edit_json, refused
from command import assert_one_clean_line

import deepgguf
from deepgguf.choices import Choices, RunChoices, declared
from deepgguf.errors import UsageError


class BytesPath:
    """A path that is not text."""

    def __fspath__(self) -> bytes:
        return b"bytes"


SENSELESS: tuple[object, ...] = (
    *(1.5, -1, 0, 2**64, 10**5000, float("nan"), 1j, b"", b"bytes", bytearray(b"x")),
    *("", "a\0b", "\ud800", "x" * 300, "y/" * 3000, "\x1b[2J" * 100, "1" * 5000, BytesPath(), object(), Exception),
    *([1], {"a": 1}, {1: "a"}, [b"a=q8_0"], {"a": b"q8_0"}, range(3), iter(["a=q8_0"]), {"a=q8_0"}, type),
)
CHOICES = {**declared(Choices), **declared(RunChoices)}
QUANTIZED = ("imatrix", "tensor_types", "output_tensor_type", "token_embedding_type")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return checkpoint("v3", tmp_path_factory.mktemp("arguments") / "v3")


@pytest.fixture(scope="module")
def file(source) -> Path:
    return deepgguf.convert(source, source.parent / "v3.gguf").files[0].path


def calls(source: Path, file: Path, out: Path) -> Iterator[tuple[Callable[..., object], dict[str, object]]]:
    """Every public function with arguments that would do."""
    yield deepgguf.plan, {"source": source, "output": out}
    yield deepgguf.plan_every_type, {"source": source}
    yield deepgguf.convert, {"source": source, "output": out}
    yield deepgguf.plan(source, out).run, {}
    yield deepgguf.inspect, {"path": file}
    yield deepgguf.verify, {"path": file, "source": source}
    yield deepgguf.compare, {"path": file, "source": source}
    yield deepgguf.sample, {"kind": "v3", "folder": out}


def arguments(function: Callable[..., object]) -> set[str]:
    """The names of a function's arguments, its choices among them."""
    names = signature(function).parameters.keys()
    return set(names) - {"choices"} | (CHOICES.keys() if function is deepgguf.convert else set())


@pytest.mark.parametrize("number", range(8))
def test_row_99_every_senseless_argument_is_a_usage_error_in_one_line(source, file, tmp_path, number):
    function, sound = list(calls(source, file, tmp_path / "out"))[number]
    for name in sorted(arguments(function)):
        for value in SENSELESS:
            if name == "progress" and callable(value):
                continue
            quantized = {"type": "q8_0"} if name in QUANTIZED else {}
            with pytest.raises(UsageError) as error:
                function(**{**sound, **quantized, name: value})
            assert_one_clean_line(str(error.value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(n for n, entry in CHOICES.items() if entry.choice.default is not None))
def test_row_99_none_is_no_value_of_a_choice_that_has_another_default(source, tmp_path, name):
    with pytest.raises(UsageError, match=f"^`{name}`: None is "):
        deepgguf.convert(source, tmp_path / "v3.gguf", **{name: None})


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"jobs": 1.5}, "`jobs`: 1.5 is not a whole number; give a number from 1"),
        ({"jobs": "2"}, "`jobs`: '2' is not a whole number; give a number from 1"),
        ({"jobs": True}, "`jobs`: True is not a whole number; give a number from 1"),
        ({"jobs": 10**5000}, "`jobs` must be at most 2^63 - 1"),
        ({"type": None}, "`type`: None is not text"),
        ({"resume": "yes"}, "`resume`: 'yes' is not True or False"),
        ({"tensor_types": [1]}, "`tensor_types`: a list is not text or a list of texts or a mapping of texts"),
        ({"output": b"v3"}, "`output`: b'v3' is not text or a path"),
        ({"output": "a\0b"}, "`output`: 'a\\x00b' holds a NUL, which no path does"),
        ({"output": ""}, "`output` must be a path, and is empty"),
        (
            {"output": "x" * 300},
            "`output`: a name of 300 bytes in a path of 300, and file systems have 255 and 4095; shorten it",
        ),
        (
            {"output": "x" * 240},
            "`output`: the file's name would have 245 bytes, and 242 are possible; give a shorter name",
        ),
        ({"executor": 1}, "`executor`: 1 is not Executor"),
        ({"progress": 1}, "`progress`: 1 is not a function"),
    ],
)
def test_row_99_the_sentence_names_the_argument_and_what_it_may_be(source, choice, message):
    with pytest.raises(UsageError) as error:
        deepgguf.convert(source, **choice)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("field", "key"),
    [
        ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
        ("rope_theta", "rope.freq_base"),
        ("routed_scaling_factor", "expert_weights_scale"),
    ],
)
def test_row_99_a_number_that_would_become_zero_is_refused(tmp_path, field, key):
    folder = checkpoint("v3", tmp_path / "v3")
    edit_json(folder / "config.json", lambda config: config.update({field: 1e-50}))
    assert refused(folder) == (
        f"output key 'deepseek2.{key}': 1e-50 does not fit the type FLOAT32 (too small: it would become 0)"
    )
