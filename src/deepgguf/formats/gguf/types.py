"""The types of values, files and tensors, and what a header says, as data."""

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
MAX_KEY_BYTES = 65535  # gguf.md: "at most 2^16-1 bytes long"

# Far above real files (a vocabulary of 262,144 tokens takes 15 MB and 1.3 million items), so that a header of a few
# megabytes cannot become gigabytes of objects. What is read and what is written have the same limits.
MAX_HEADER_BYTES = 64 * 2**20
MAX_ARRAY_ITEMS = 4 * 2**20  # of all arrays together
MAX_KEYS = 2**16
MAX_TENSORS = 2**18


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


class FileType(enum.IntEnum):
    """What `general.file_type` says of a whole file: its type, or its mixture of types (llama.h, enum llama_ftype).

    The names are those of llama-quantize's arguments.
    """

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q8_0 = 7
    Q5_0 = 8
    Q5_1 = 9
    Q2_K = 10
    Q3_K_S = 11
    Q3_K_M = 12
    Q3_K_L = 13
    Q4_K_S = 14
    Q4_K_M = 15
    Q5_K_S = 16
    Q5_K_M = 17
    Q6_K = 18
    IQ2_XXS = 19
    IQ2_XS = 20
    Q2_K_S = 21
    IQ3_XS = 22
    IQ3_XXS = 23
    IQ1_S = 24
    IQ4_NL = 25
    IQ3_S = 26
    IQ3_M = 27
    IQ2_S = 28
    IQ2_M = 29
    IQ4_XS = 30
    IQ1_M = 31
    BF16 = 32
    TQ1_0 = 36
    TQ2_0 = 37
    MXFP4_MOE = 38
    NVFP4 = 39
    Q1_0 = 40
    Q2_0 = 41


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


class ForkTensor(msgspec.Struct, frozen=True):
    """A tensor of a type that ggml does not have: `type` is its name, and whose it is.

    As for TensorInfo, but `nbytes` is what lies between this tensor and the next, padding included.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class GGUFHeader(msgspec.Struct, frozen=True):
    """All that one GGUF file says of itself before its data start.

    `path` is the name that errors use; `data_offset` and `file_size` are in bytes from the file's start. Tensors whose
    types ggml does not have are in `fork_tensors`; only who asks for them gets any.
    """

    path: str
    version: int
    alignment: int
    data_offset: int
    keys: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    file_size: int
    fork_tensors: tuple[ForkTensor, ...] = ()

    @property
    def all_tensors(self) -> list[TensorInfo | ForkTensor]:
        """Those of every type, in the order of their data."""
        return sorted((*self.tensors, *self.fork_tensors), key=lambda tensor: tensor.offset)
