"""Tensors of a GGUF source that are carried over as they are."""

from math import prod

from deepgguf.encodings import PLAIN
from deepgguf.formats.gguf.types import GGMLType, TensorInfo
from deepgguf.planning.schema import PlannedTensor
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import Shape, View


def stored_type(tensor: SourceTensor) -> GGMLType:
    """The type in which a GGUF holds the tensor."""
    type = tensor.encoding.type
    assert type is not None
    return type


def written_shape(shape: Shape) -> Shape:
    """Without the leading ones, which ggml's writer does not count (ggml.c, ggml_n_dims)."""
    first = next((i for i, size in enumerate(shape) if size > 1), len(shape) - 1)
    return shape[first:]


def matrices(shape: Shape) -> View:
    """All of a stack of matrices, each of which an importance matrix has columns for."""
    if len(shape) < 3:
        return View.whole(shape)
    rows, cols = shape[-2:]
    return View(prod(shape[:-2]), rows, cols, 0, rows, form=shape)


def whole_view(shape: Shape, types: set[GGMLType]) -> View:
    """All of a tensor that has these types in its source and its output."""
    if types <= PLAIN:  # every weight stands alone, so any run of them will do as a piece
        return View(1, prod(shape), 1, 0, prod(shape))
    return matrices(shape)


def carried(info: TensorInfo, source: SourceTensor) -> PlannedTensor:
    """The tensor `info`, with the bytes of `source`."""
    return PlannedTensor(info, whole_view(info.shape, {info.type}), (source,), info.type)
