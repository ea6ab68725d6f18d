"""Weights that a file has exactly as the source has them, for files of the type "source"."""

import msgspec
import numpy as np

from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Bytes, Floats, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType


class Equality(msgspec.Struct, frozen=True, gc=False):
    """How many of some weights are equal in file and source, and how far the others are off at most.

    `largest_rounding` is relative to the source's weight; infinite for one that became something else than a number.
    """

    weights: int = 0
    equal: int = 0
    largest_rounding: float = 0.0

    def plus(self, other: "Equality") -> "Equality":
        """Both together."""
        largest = max(self.largest_rounding, other.largest_rounding)
        return Equality(self.weights + other.weights, self.equal + other.equal, largest)


def equality(type: GGMLType, data: Bytes, values: Floats) -> Equality:
    """Of the weights in `data`, decoded by NumPy, with the source's `values` [rows, cols], as they lie in the file."""
    found = encoding_of(type).values(Stored("", 0, len(values), values.shape[1], (data,)), Buffers())
    unequal = (found != values) & ~(np.isnan(found) & np.isnan(values))
    count = int(np.count_nonzero(unequal))
    if not count:
        return Equality(values.size, values.size)
    were, are = values[unequal].astype(np.float64), found[unequal].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = float(np.nan_to_num(np.abs(are - were) / np.abs(were), nan=np.inf).max())
    return Equality(values.size, values.size - count, largest)
