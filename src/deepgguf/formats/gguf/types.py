"""The types of values and tensors, and what a header says, as data."""

import enum
from typing import NamedTuple

import msgspec

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


class GGMLType(enum.IntEnum):
    """Every type of tensor that ggml has today (ggml.h, enum ggml_type); deepgguf itself makes about half of them."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q8_1 = 9
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    Q8_K = 15
    IQ2_XXS = 16
    IQ2_XS = 17
    IQ3_XXS = 18
    IQ1_S = 19
    IQ4_NL = 20
    IQ3_S = 21
    IQ2_S = 22
    IQ4_XS = 23
    I8 = 24
    I16 = 25
    I32 = 26
    I64 = 27
    F64 = 28
    IQ1_M = 29
    BF16 = 30
    TQ1_0 = 34
    TQ2_0 = 35
    MXFP4 = 39
    NVFP4 = 40
    Q1_0 = 41
    Q2_0 = 42


class Block(NamedTuple):
    """A type's unit of storage: `weights` elements of one row in `nbytes` bytes."""

    weights: int
    nbytes: int


# ggml-common.h, the structs block_*; a row is a whole number of blocks.
BLOCKS: dict[GGMLType, Block] = {
    GGMLType.F32: Block(1, 4),
    GGMLType.F16: Block(1, 2),
    GGMLType.BF16: Block(1, 2),
    GGMLType.Q4_0: Block(32, 18),
    GGMLType.Q4_1: Block(32, 20),
    GGMLType.Q5_0: Block(32, 22),
    GGMLType.Q5_1: Block(32, 24),
    GGMLType.Q8_0: Block(32, 34),
    GGMLType.IQ4_NL: Block(32, 18),
    GGMLType.MXFP4: Block(32, 17),
    GGMLType.Q2_K: Block(256, 84),
    GGMLType.Q3_K: Block(256, 110),
    GGMLType.Q4_K: Block(256, 144),
    GGMLType.Q5_K: Block(256, 176),
    GGMLType.Q6_K: Block(256, 210),
    GGMLType.IQ4_XS: Block(256, 136),
    # Read only: no kernel of deepgguf makes these, but files that hold them can be inspected.
    GGMLType.F64: Block(1, 8),
    GGMLType.I8: Block(1, 1),
    GGMLType.I16: Block(1, 2),
    GGMLType.I32: Block(1, 4),
    GGMLType.I64: Block(1, 8),
    GGMLType.Q8_1: Block(32, 36),
    GGMLType.NVFP4: Block(64, 36),
    GGMLType.Q2_0: Block(64, 18),
    GGMLType.Q1_0: Block(128, 18),
    GGMLType.Q8_K: Block(256, 292),
    GGMLType.IQ1_S: Block(256, 50),
    GGMLType.IQ1_M: Block(256, 56),
    GGMLType.IQ2_XXS: Block(256, 66),
    GGMLType.IQ2_XS: Block(256, 74),
    GGMLType.IQ2_S: Block(256, 82),
    GGMLType.IQ3_XXS: Block(256, 98),
    GGMLType.IQ3_S: Block(256, 110),
    GGMLType.TQ1_0: Block(256, 54),
    GGMLType.TQ2_0: Block(256, 66),
}

# Where a block holds its F16 scales, in bytes from its begin; MXFP4's are powers of two and have no infinity.
SCALES: dict[GGMLType, tuple[int, ...]] = {
    GGMLType.Q4_0: (0,),
    GGMLType.Q4_1: (0, 2),
    GGMLType.Q5_0: (0,),
    GGMLType.Q5_1: (0, 2),
    GGMLType.Q8_0: (0,),
    GGMLType.IQ4_NL: (0,),
    GGMLType.Q2_K: (80, 82),
    GGMLType.Q3_K: (108,),
    GGMLType.Q4_K: (0, 2),
    GGMLType.Q5_K: (0, 2),
    GGMLType.Q6_K: (208,),
    GGMLType.IQ4_XS: (0,),
}

PLAIN = frozenset({GGMLType.F32, GGMLType.F16, GGMLType.BF16})


def row_bytes(type: GGMLType, weights: int) -> int:
    """Bytes of a row of `weights` elements; ValueError if that is no whole number of the type's blocks."""
    block = BLOCKS[type]
    blocks, rest = divmod(weights, block.weights)
    if rest:
        raise ValueError(f"a row of {weights} weights is no whole number of {type.name} blocks of {block.weights}")
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
    """All that one GGUF file says of itself before its data begin.

    `path` is the name that errors use; `data_offset` and `file_size` are in bytes from the file's begin.
    """

    path: str
    version: int
    alignment: int
    data_offset: int
    keys: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    file_size: int
