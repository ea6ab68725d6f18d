"""What quantizers store means what the formats' definitions say, bit by bit, and any run of rows can be read alone."""

import hashlib
import json
import struct
import tracemalloc

import numpy as np
import pytest

from deepgguf.checkpoint.catalog import catalog
from deepgguf.checkpoint.quantization import declared_quantization
from deepgguf.encodings.encoding import Stored
from deepgguf.encodings.opaque import Opaque
from deepgguf.encodings.scaled import Scaled
from deepgguf.errors import CheckpointError, NonFiniteError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import TensorHeader, parse_header
from deepgguf.tensors.source_tensor import Blob, SourceTensor
from golden import GOLDENS
from quantized_forms import FORMS

# One layer in each format, made by another program, and digests of what its weights are.
FOLDER = GOLDENS / "encodings"
CONFIGS = json.loads((FOLDER / "configs.json").read_text())
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
LAYER, ROWS, COLS = "model.layers.0.mlp.down_proj", 40, 192
FOREIGN = {
    "awq-int4": "AWQ",
    "bnb-int8": "bitsandbytes",
    "bnb-nf4": "bitsandbytes",
    "gptq-int4": "GPTQ",
    "gptq-int4-actorder": "GPTQ",
}


def tensors_of(data: bytes, config) -> dict[str, SourceTensor]:
    """The catalog of one shard."""
    (length,) = struct.unpack("<Q", data[:8])
    headers = {h.name: h for h in parse_header(data[8 : 8 + length], 8 + length, len(data), "x")}
    return catalog(headers, {h.name: Blob(0, h.offset, h.nbytes) for h in headers.values()}, config)


def golden(name: str) -> tuple[SourceTensor, bytes]:
    data = (FOLDER / f"{name}.safetensors").read_bytes()
    quantization = declared_quantization({"quantization_config": CONFIGS[name]})
    return tensors_of(data, quantization)[f"{LAYER}.weight"], data


def rows_of(tensor: SourceTensor, data: bytes, first: int, rows: int):
    def read(file, offset, buffer):
        buffer[:] = np.frombuffer(data[offset : offset + buffer.size], np.uint8)

    return tensor.read_rows(tensor.shape[1], first, rows, read, Buffers())


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - FOREIGN))
def test_values_are_those_of_the_golden_to_the_bit(name):
    tensor, data = golden(name)
    assert tensor.shape == (ROWS, COLS)
    values = tensor.encoding.values(rows_of(tensor, data, 0, ROWS), Buffers())
    assert hashlib.sha256(values.tobytes()).hexdigest() == EXPECTED[name][f"expected {LAYER}.weight"][2]


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - FOREIGN))
def test_rows_in_runs_are_decoded_as_the_whole(name):
    tensor, data = golden(name)
    made = []
    for first, rows in ((0, 3), (3, 10), (13, 1), (14, 26)):
        made.append(np.empty(rows * COLS * 4, np.uint8))
        assert tensor.encoding.decode(rows_of(tensor, data, first, rows), GGMLType.F32, made[-1]) == (0, 0, 0)
    values = tensor.encoding.values(rows_of(tensor, data, 0, ROWS), Buffers())
    assert b"".join(run.tobytes() for run in made) == values.tobytes()


@pytest.mark.parametrize(("name", "tool"), FOREIGN.items())
def test_what_only_its_tool_reads_is_called_by_the_tool_s_name(name, tool):
    tensor, _ = golden(name)
    assert isinstance(tensor.encoding, Opaque)
    assert tensor.encoding.found.startswith(f"quantized by {tool} (")
    assert tensor.encoding.advice.startswith("convert the model that it was made from instead")


def one_layer(tensors, config, **changed) -> SourceTensor:
    """The weights of layer "x"; `changed`: dtype and shape of its tensors, or None for those that are left out."""
    kinds = {part: (t.dtype, t.shape) for part, t in tensors.items()} | changed
    headers = {f"x.{part}": TensorHeader(f"x.{part}", *kind, 0, 0) for part, kind in kinds.items() if kind}
    return catalog(headers, dict.fromkeys(headers, Blob(0, 0, 0)), config)["x.weight"]


@pytest.mark.parametrize(
    ("name", "changed", "found"),
    [
        ("ct-int4-g32", {"weight_scale": None}, "x.weight_packed: packed integers, but there is no x.weight_scale"),
        ("ct-int4-g32", {"weight_scale": ("BF16", (8, 3))}, r"x.weight_scale: shape \[8, 3\], expected \[8, 2\]"),
        ("ct-int4-g32", {"weight_scale": ("F8_E8M0", (8, 2))}, "scales of dtype F8_E8M0, expected F32, F16 or BF16"),
        ("ct-int4-g32", {"weight": ("BF16", (8, 64))}, "x.weight: is there twice, as it is and as x.weight_packed"),
        ("ct-int4-g32", {"weight_g_idx": ("I32", (64,))}, r"quantized by compressed-tensors \(columns in the order"),
        ("ct-int4-g32", {"weight_packed": ("I32", (8, 8, 1))}, r"packed integers of shape \[8, 8, 1\]"),
        ("ct-int4-g32", {"weight_shape": None}, "x.weight_packed: packed integers, but there is no x.weight_shape"),
        ("ct-int4-g32", {"weight_shape": ("I32", (3,))}, r"I32 of shape \[3\], expected two numbers of I32 or I64"),
        ("ct-int4-g32", {"weight_shape": ("F32", (2,))}, r"F32 of shape \[2\], expected two numbers of I32 or I64"),
        ("ct-int4-g16-asymmetric", {"weight_zero_point": None}, "asymmetric, but there is no weight_zero_point"),
        ("ct-int4-g16-asymmetric", {"weight_zero_point": ("I32", (2, 4))}, r"expected I32 of shape \[1, 4\]"),
        ("ct-int8-asymmetric", {"weight_zero_point": None}, "asymmetric, but there is no weight_zero_point"),
        ("ct-int8-asymmetric", {"weight_zero_point": ("I8", (1, 1))}, r"expected I8 of shape \[8, 1\]"),
        ("ct-mxfp4", {"weight_scale": ("U8", (8, 4))}, r"x.weight_scale: shape \[8, 4\], expected \[8, 2\]"),
        ("modelopt-nvfp4", {"weight_scale_2": None}, "has no weight_global_scale or weight_scale_2 in any shard"),
        ("modelopt-nvfp4", {"weight_scale_2": ("F32", (8,))}, r"F32 of shape \[8\], expected one F32"),
    ],
)
def test_tensors_that_do_not_fit_together_are_an_error(name, changed, found):
    config, make = FORMS[name]
    encoding = one_layer(make(np.random.default_rng(0), 8, 64).tensors, config, **changed).encoding
    with pytest.raises(CheckpointError, match=found):
        encoding.plain  # noqa: B018  # raises


@pytest.mark.parametrize("bits", [3, 5, 16, None, "4", True])
def test_widths_that_are_not_read_are_an_error(bits):
    coded = FORMS["ct-int4-g32"][1](np.random.default_rng(0), 8, 64)
    encoding = one_layer(coded.tensors, {"num_bits": bits}).encoding
    with pytest.raises(CheckpointError, match=f"num_bits {bits!r} for x.weight_packed, expected 4 or 8"):
        encoding.plain  # noqa: B018  # raises


@pytest.mark.parametrize(
    ("name", "part", "nan", "zero"),
    [
        ("ct-int4-g32", 1, b"\xc0\x7f", b"\0\0"),
        ("ct-int8-channel", 1, b"\xc0\x7f", b"\0\0"),
        ("fp8-e5m2", 1, b"\0\0\xc0\x7f", bytes(4)),
        ("modelopt-nvfp4", 2, b"\0\0\xc0\x7f", bytes(4)),
        ("modelopt-nvfp4", 1, b"\x7f", None),
        ("ct-mxfp4", 1, b"\xff", None),
    ],
)
def test_a_scale_that_no_quantizer_makes_is_an_error_that_names_it(name, part, nan, zero):
    config, make = FORMS[name]
    coded = make(np.random.default_rng(0), 8, 64)
    tensor, out = one_layer(coded.tensors, config), np.empty(8 * 64 * 4, np.uint8)
    order = list(coded.tensors)
    for bits, error in ((nan, NonFiniteError), (zero, CheckpointError)):
        blobs = [np.frombuffer(coded.tensors[part].data, np.uint8).copy() for part in order]
        if bits is not None:
            blobs[part][: len(bits)] = np.frombuffer(bits, np.uint8)
            with pytest.raises(error, match=rf"tensor x\.{order[part]}: the scale of block \[0, 0\]"):
                tensor.encoding.decode(stored_rows(blobs), GGMLType.F32, out)


def stored_rows(blobs):
    return Stored("x.weight", 0, 8, 64, tuple(blobs))


def test_an_nvfp4_group_of_zeros_may_have_a_scale_of_zero():
    config, make = FORMS["modelopt-nvfp4"]
    coded = make(np.random.default_rng(0), 8, 64)
    tensor = one_layer(coded.tensors, config)
    blobs = [np.frombuffer(t.data, np.uint8).copy() for t in coded.tensors.values()]
    blobs[1][0] = 0
    out = np.empty(8 * 64 * 4, np.uint8)
    tensor.encoding.decode(stored_rows(blobs), GGMLType.F32, out)
    assert not out.view(np.float32)[:16].any()


@pytest.mark.parametrize("said", [[8, 128], [16, 64], [64, 8]])
@pytest.mark.parametrize("dtype", ["I32", "I64"])
def test_a_shape_that_is_not_that_of_the_packed_weights_is_an_error_that_names_it(said, dtype):
    config, make = FORMS["ct-int4-g32"]
    coded = make(np.random.default_rng(0), 8, 64)
    tensor = one_layer(coded.tensors, config, weight_shape=(dtype, (2,)))
    stored = {**coded.tensors, "weight_shape": coded.tensors["weight_shape"]._replace(data=integers(dtype, said))}
    stored = stored_rows([np.frombuffer(t.data, np.uint8) for t in stored.values()])
    out = np.empty(8 * 64 * 4, np.uint8)
    for work in (
        lambda: tensor.encoding.decode(stored, GGMLType.F32, out),
        lambda: tensor.encoding.repack(stored, out[: 8 * 36]),
    ):
        with pytest.raises(
            CheckpointError, match=rf"tensor x\.weight_shape: says \[{said[0]}, {said[1]}\], but weight_packed"
        ):
            work()


def integers(dtype: str, values: list[int]) -> bytes:
    return np.array(values, {"I32": "<i4", "I64": "<i8"}[dtype]).tobytes()


@pytest.mark.parametrize("name", FORMS)
def test_made_up_weights_stand_for_what_the_format_s_page_says(name):
    config, make = FORMS[name]
    coded = make(np.random.default_rng(2), 24, 256)
    tensor = one_layer(coded.tensors, config)
    assert isinstance(tensor.encoding, Scaled)
    assert tensor.shape == (24, 256)
    blobs = [np.frombuffer(t.data, np.uint8) for t in coded.tensors.values()]
    stored = stored_rows(blobs)._replace(rows=24, cols=256)
    assert tensor.encoding.values(stored, Buffers()).tobytes() == coded.weights.astype(np.float32).tobytes()


@pytest.mark.parametrize("name", FORMS)
def test_decoding_takes_no_more_memory_than_the_plan_counts(name):
    config, make = FORMS[name]
    coded, rows, cols = make(np.random.default_rng(2), 64, 2048), 64, 2048
    encoding = one_layer(coded.tensors, config).encoding
    blobs = tuple(np.frombuffer(t.data, np.uint8) for t in coded.tensors.values())
    out = np.empty(2 * rows * cols, np.uint8)
    tracemalloc.start()
    encoding.decode(Stored("x.weight", 0, rows, cols, blobs), GGMLType.BF16, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= encoding.working * rows * cols + 300_000  # scales, as float32 and repeated
