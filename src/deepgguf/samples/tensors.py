"""A sample's tensor: its name, its shape, and the kind of numbers that fill it."""

import enum
import math

import msgspec


class Fill(enum.Enum):
    """The kinds of numbers in a checkpoint; each has its dtype and its distribution (`recipe.py`)."""

    WEIGHT = "weight"
    NORM = "norm"
    ROUTER = "router"
    CORRECTION_BIAS = "correction bias"
    FP8 = "fp8"
    SCALE = "scale"


DTYPES = {
    Fill.WEIGHT: "BF16",
    Fill.NORM: "BF16",
    Fill.ROUTER: "BF16",
    Fill.CORRECTION_BIAS: "F32",
    Fill.FP8: "F8_E4M3",
    Fill.SCALE: "F32",
}
ITEM_BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1}


class SampleTensor(msgspec.Struct, frozen=True):
    """One tensor of a sample; `shape` is row-major."""

    name: str
    shape: tuple[int, ...]
    fill: Fill = Fill.WEIGHT

    @property
    def dtype(self) -> str:
        """The dtype's name in a safetensors header."""
        return DTYPES[self.fill]

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return ITEM_BYTES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.count * self.item_bytes
