"""Forms in blocks of quantized weights: what all of GGUF's have in common."""

from typing import ClassVar

import msgspec
import numpy as np

from deepgguf import kernels
from deepgguf.encodings.encoding import Bytes, Encoding, Floats, Range, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType, block_of, row_bytes


class Groups(msgspec.Struct, frozen=True):
    """The groups of some blocks.

    `levels` float32 [blocks, groups, weights]; `step` float32 [blocks, groups], of either sign; `offset` likewise, None
    for types that have none.
    """

    levels: Floats
    step: Floats
    offset: Floats | None = None

    def values(self) -> Floats:
        """The weights, float32 [blocks, groups, weights], rounded where ggml rounds."""
        values = self.step[..., None] * self.levels
        if self.offset is not None:  # adding a zero would make −0 into 0
            values += self.offset[..., None]
        return values


class Quantized(Encoding, frozen=True):
    """Blocks of one or more groups of weights with a common step: weight = step × level + offset.

    A level is what a code stands for. Each form's `groups` is written from the layout in ggml-common.h (structs
    block_*) and its meaning in ggml-quants.c (dequantize_row_*), not from the kernel; the results are ggml's bits.
    """

    type: ClassVar[GGMLType]

    levels: ClassVar[Floats]
    """What codes stand for, in rising order."""

    f16_scales: ClassVar[tuple[int, ...]] = (0,)
    """Where a block holds its F16 scales, in bytes from its start."""

    takes_importance: ClassVar[bool] = True
    """Whether the quantizer reads the weights of an importance matrix (ggml-quants.c)."""

    needs_importance: ClassVar[bool] = False
    """Whether the weights are worthless without one (llama-quant.cpp, tensor_requires_imatrix)."""

    impossible_without_importance: ClassVar[bool] = False
    """Whether the quantizer cannot work without one (ggml.c, ggml_quantize_requires_imatrix)."""

    narrower: ClassVar[GGMLType | None] = None
    """What to take where rows are not a whole number of blocks (llama-quant.cpp, tensor_type_fallback)."""

    largest: ClassVar[float] = 65504.0 * 128 * 32
    """No larger weight has a scale: the largest F16, times a group's scale, times a level, of the widest types.

    Most quantizers search their scale by sums of squares, which are NaN before the scale shows it.
    """

    largest_subscale: ClassVar[int] = 1
    """The largest whole number that a scale in F16 is multiplied by to make a group's step."""

    level_before_rounding: ClassVar[bool] = False
    """Whether levels are chosen by the scale as it was before its rounding to F16."""

    level_from_search: ClassVar[bool] = False
    """Whether levels stay as a search by importance left them, with a scale that is fitted afterwards."""

    chosen_together: ClassVar[bool] = False
    """Whether levels are chosen several at a time, as a point of a lattice, so that each need not be the nearest."""

    mean_as_step: ClassVar[bool] = False
    """Whether a group's step is the mean of its magnitudes, so that every error is known."""

    given_up: ClassVar[float] = 0.5
    """How far beyond its levels a weight may be, over the block's largest weight; measured: 0.28."""

    largest_lost: ClassVar[float] = 0.0
    """The largest weight of a group whose scale, if it is no F16, is too small and becomes 0."""

    largest_rms: ClassVar[float] = 0.75
    """How large the errors of a tensor may be, root mean square over that of its source.

    The worst measured of types of four bits and more is 0.60, of weights whose outliers an importance matrix declares
    to be worth nothing; tensors that have nothing to do with each other have 1.4.
    """

    weakness: ClassVar[str] = ""
    """What the quantizer does badly by a fault of its own, which the bytes must have, for where errors are large."""

    @property
    def plain(self) -> GGMLType:
        """F32: of its steps and levels no narrower type holds every product."""
        return GGMLType.F32

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The rows' blocks."""
        row = row_bytes(self.type, cols)
        return (Range(first * row, rows * row),)

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """The same bits as ggml's to_float; NaN and Inf where a damaged file's scales are."""
        with np.errstate(invalid="ignore", over="ignore"):
            values = self.split(stored.blobs[0].reshape(stored.rows, -1), stored.cols).values()
        return values.reshape(stored.rows, stored.cols)

    def split(self, data: Bytes, cols: int) -> Groups:
        """The groups of all blocks of `data`, uint8 [rows, row_bytes(type, cols)], row by row; ValueError otherwise."""
        block = block_of(self.type)
        if cols % block.weights or data.shape[1] * block.weights != cols * block.nbytes:
            raise ValueError(f"{data.shape[1]} bytes are not a row of {cols} weights of {self.type.name}")
        return self.groups(np.ascontiguousarray(data).reshape(-1, block.nbytes))

    def groups(self, blocks: Bytes) -> Groups:
        """The groups of `blocks`, uint8 [blocks, bytes of a block]."""
        raise NotImplementedError

    def encode(self, floats: Floats, cols: int, importance: Floats | None, out: Bytes) -> None:
        """Rows of `cols` weights, float32 [n], into the bytes of their blocks; `importance`: float32 [cols]."""
        kernels.quantize(floats, cols, self.type, importance, out, row_bytes(self.type, cols))

    def odd_blocks(self, blocks: Bytes) -> int:
        """How many of `blocks`, uint8 [n], have a scale that is NaN or infinite (ggml_validate_row_data)."""
        rows = blocks.reshape(-1, block_of(self.type).nbytes)
        odd = [rows[:, at + 1] & 0x7C == 0x7C for at in self.f16_scales]  # all bits of the exponent
        return int(np.logical_or.reduce(odd).sum()) if odd else 0

    def too_large(self, floats: Floats, out: Bytes) -> int | None:
        """The first of `floats`, by its place, whose block `out` holds an infinite scale, though all are finite."""
        if not self.f16_scales:
            return None
        if self.largest < float("inf") and max(floats.max(), -floats.min()) > self.largest:
            return int(np.abs(floats).argmax())
        block = block_of(self.type)
        for at in self.f16_scales:
            odd = out.reshape(-1, block.nbytes)[:, at + 1] & 0x7C == 0x7C  # all bits of the exponent
            if odd.any():
                return int(odd.argmax()) * block.weights
        return None
