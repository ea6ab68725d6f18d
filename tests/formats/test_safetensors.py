import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.errors import CheckpointError
from deepgguf.formats.safetensors import DTYPE_BITS, TensorHeader, parse_header

NAMES = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)
WHOLE_BYTES = sorted(dtype for dtype, bits in DTYPE_BITS.items() if bits % 8 == 0)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[TensorHeader], bytes, int]:
    """Tensors in the order of their data, a header that names them in another order, and the size of the data."""
    data_start = draw(st.integers(8, 10_000))
    offset, tensors = data_start, []
    for name in draw(st.lists(NAMES, unique=True, max_size=6)):
        dtype, shape = draw(st.sampled_from(WHOLE_BYTES)), tuple(draw(st.lists(st.integers(1, 10**6), max_size=4)))
        nbytes = DTYPE_BITS[dtype] // 8 * math.prod(shape)
        tensors.append(TensorHeader(name, dtype, shape, offset, nbytes))
        offset += nbytes
    header: dict[str, object] = {}
    for t in draw(st.permutations(tensors)):
        start = t.offset - data_start
        fields = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [start, start + t.nbytes]}
        header[t.name] = dict(draw(st.permutations(list(fields.items()))))
    if draw(st.booleans()):
        header["__metadata__"] = {"format": "pt"}
    return tensors, json.dumps(header).encode(), data_start


@given(files())
def test_tensors_come_in_the_order_of_their_data_with_offsets_in_the_file(file):
    tensors, text, data_start = file
    size = tensors[-1].offset + tensors[-1].nbytes if tensors else data_start
    assert parse_header(text, data_start, size, "a") == tensors


@given(files(), st.sampled_from([-1, 1, 10**9]))
def test_a_file_of_any_other_size_is_refused(file, more):
    tensors, text, data_start = file
    size = tensors[-1].offset + tensors[-1].nbytes if tensors else data_start
    with pytest.raises(CheckpointError, match=r"^a: .* bytes, but header and tensors have "):
        parse_header(text, data_start, size + more, "a")


def header(**fields: object) -> bytes:
    return json.dumps({"w": {"dtype": "BF16", "shape": [3, 4], "data_offsets": [0, 24], **fields}}).encode()


def test_the_error_names_file_tensor_and_both_sizes():
    with pytest.raises(CheckpointError) as error:
        parse_header(header(dtype="F32"), 100, 124, "model.safetensors")
    assert str(error.value) == (
        "model.safetensors, tensor w: data_offsets [0, 24] hold 24 bytes, F32 [3, 4] needs 48; download it again"
    )


def test_a_scalar_has_no_dimensions_and_one_element():
    assert parse_header(header(shape=[], data_offsets=[0, 2]), 100, 102, "a")[0].nbytes == 2


def test_padding_with_spaces_after_the_header_is_allowed():
    assert len(parse_header(header() + b"      ", 100, 124, "a")) == 1


def test_four_bit_elements_come_in_pairs():
    assert parse_header(header(dtype="F4", data_offsets=[0, 6]), 100, 106, "a")[0].nbytes == 6
    with pytest.raises(CheckpointError, match="12 bits of F4 are not a whole number of bytes"):
        parse_header(header(dtype="F4", shape=[3], data_offsets=[0, 1]), 100, 101, "a")


def test_a_header_without_tensors_is_accepted():
    assert parse_header(b'{"__metadata__": {}}', 100, 100, "a") == []
