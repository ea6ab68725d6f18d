"""The types of values and tensors, and what a header says, as data."""

import enum
from functools import cache
from typing import NamedTuple

import msgspec

from deepgguf import kernels
from deepgguf.kernels import GGMLType as GGMLType

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_NAME_BYTES = 63  # GGML_MAX_NAME is 64 with its terminating zero (ggml.h)


class ValueType(enum.IntEnum):
    """Types of key values (gguf.h, enum gguf_type)."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


class Block(NamedTuple):
    """A type's unit of storage: `weights` elements of one row in `nbytes` bytes."""

    weights: int
    nbytes: int


@cache
def block_of(type: GGMLType) -> Block:
    """The type's block; a row is a whole number of them (kernels/types.def)."""
    return Block(*kernels.block_of(type))


def row_bytes(type: GGMLType, weights: int) -> int:
    """Bytes of a row of `weights` elements; ValueError if that is not a whole number of the type's blocks."""
    block = block_of(type)
    blocks, rest = divmod(weights, block.weights)
    if rest:
        raise ValueError(f"a row of {weights} weights is not a whole number of {type.name} blocks of {block.weights}")
    return blocks * block.nbytes


class Value(msgspec.Struct, frozen=True):
    """A key's value. For an ARRAY, `value` is a tuple or list and `item_type` the type of its items."""

    type: ValueType
    value: object
    item_type: ValueType | None = None


class TensorInfo(msgspec.Struct, frozen=True):
    """What a header says of a tensor.

    `shape` is row-major as NumPy has it (GGUF stores it reversed); `offset` is relative to the data section, in bytes.
    """

    name: str
    type: GGMLType
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class GGUFHeader(msgspec.Struct, frozen=True):
    """All that one GGUF file says of itself before its data start.

    `path` is the name that errors use; `data_offset` and `file_size` are in bytes from the file's start.
    """

    path: str
    version: int
    alignment: int
    data_offset: int
    keys: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    file_size: int
