"""Packed integers: 4 or 8 bits in words of 32, with scales, as compressed-tensors stores them (pack-quantized).

compressed_tensors/compressors/pack_quantized, pack_to_int32: fields stand lowest first; what is signed is stored plus
half its range. Zero points are packed along the rows, weights along the columns. weight_shape says how many of the
fields in words are weights; the library and llama.cpp (conversion/base.py, dequant_packed) read no layer without.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from deepgguf.encodings.bits import integers, nibble_pairs, pairs_of_a_block
from deepgguf.encodings.encoding import Bytes, Claim, Floats, Range, Stored
from deepgguf.encodings.scaled import (
    FLOAT_SCALES,
    GROUP,
    ROW,
    TENSOR,
    Block,
    Scaled,
    check_dtype,
    check_grid,
    check_matrix,
    declared_block,
    only_scales,
)
from deepgguf.errors import CheckpointError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import DTYPE_BITS, TensorHeader

_WORD = 32
_SIDES = {"I32": "<i4", "I64": "<i8"}
"""What weight_shape is stored as: by Kimi-K2.5, by the library."""


class PackedInt(Scaled, frozen=True):
    """(field − zero) × scale; the zero is packed likewise if `zeros`, and half the range of `bits` otherwise.

    `shape` is the weights', which the numbers of weight_shape, of dtype `sides`, must be.
    """

    dtype = "I32"
    claims = (Claim("weight_packed", ("I32",), ("weight_scale", "weight_shape", "weight_zero_point")),)
    kind = "packed integers"
    scale_dtypes = FLOAT_SCALES

    bits: int = 4
    zeros: bool = False
    shape: tuple[int, int] = (0, 0)
    sides: str = "I32"

    @classmethod
    def describe(
        cls, weights: TensorHeader, beside: Sequence[TensorHeader], quantization: Mapping[str, object]
    ) -> "PackedInt":
        """CheckpointError if scales or zeros do not fit, there is no weight_shape, or config.json does not say of how
        many bits the weights are.

        3, 5, 6 and 7 bits, which the library packs across words, are refused.
        """
        scales = only_scales(weights, beside, cls.kind)
        check_matrix(weights, cls.kind)
        bits = quantization.get("num_bits")
        if bits not in (4, 8) or not isinstance(bits, int):
            found = f"quantization_config has num_bits {bits!r} for {weights.name}, expected 4 or 8"
            raise CheckpointError("config.json", found, "compare it with the original's")
        shape = weights.shape[0], weights.shape[1] * _WORD // bits
        block = _block(scales, shape, quantization)
        check_dtype(scales, cls.scale_dtypes)
        zeros = next((header for header in beside if header.name.endswith("weight_zero_point")), None)
        if zeros:
            _check_zeros(zeros, weights, scales, bits, block)
        elif quantization.get("symmetric") is False:
            found = "config.json calls it asymmetric, but there is no weight_zero_point beside it"
            raise CheckpointError(f"tensor {weights.name}", found)
        return cls(block, scales.dtype, "weight_scale", bits, zeros is not None, shape, _sides(weights, beside))

    @property
    def packs_as(self) -> GGMLType | None:
        """Q4_0 or Q8_0, whose codes lie around zero too and whose scales are F16."""
        if self.zeros or not self._by_groups:
            return None
        return GGMLType.Q4_0 if self.bits == 4 else GGMLType.Q8_0

    def repack(self, stored: Stored, out: Bytes) -> None:
        """ggml-common.h, block_q4_0 and block_q8_0: the scale, then codes; in Q4_0 column i low, column i + 16 high.

        Errors as of `pack_scales`.
        """
        blocks = out.reshape(-1, 2 + GROUP * self.bits // 8)
        self.pack_scales(stored, blocks, GGMLType.Q4_0 if self.bits == 4 else GGMLType.Q8_0)
        if self.bits == 8:
            blocks[:, 2:] = stored.blobs[0].reshape(-1, GROUP) ^ 0x80  # from around 128 to around 0
            return
        blocks[:, 2:] = pairs_of_a_block(stored.blobs[0].reshape(-1, GROUP // 2))

    def logical_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """All fields of the words."""
        return stored[0], stored[1] * self._fields

    @property
    def _fields(self) -> int:
        """Fields in a word."""
        return _WORD // self.bits

    def row_bytes(self, cols: int) -> int:
        """A row's words."""
        return -(-cols // self._fields) * 4

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The rows' words, their scales, the weights' shape, and the words that their zeros are in."""
        codes, scales = super().ranges(cols, first, rows)
        always = codes, scales, Range(0, 2 * DTYPE_BITS[self.sides] // 8)
        if not self.zeros:
            return always
        top, bottom = first // self._fields, (first + rows - 1) // self._fields
        row = self.across(cols) * 4
        return *always, Range(top * row, (bottom - top + 1) * row)

    def checked_scales(self, stored: Stored) -> Floats:
        """See there; CheckpointError too if weight_shape is another than that of words and scales."""
        said = stored.blobs[2].view(_SIDES[self.sides]).tolist()
        if said != [*self.shape]:
            found = f"says {said}, but weight_packed beside it is of {list(self.shape)}"
            where = f"tensor {stored.tensor.removesuffix('weight')}weight_shape"
            raise CheckpointError(where, found, "compare the shard's checksum with the original's")
        return super().checked_scales(stored)

    def levels(self, stored: Stored, buffers: Buffers) -> Floats:
        """The fields without their zeros."""
        data = stored.blobs[0].reshape(stored.rows, -1)
        lowest = np.float32(0 if self.zeros else -(1 << self.bits - 1))
        if self.bits == 4:
            values = nibble_pairs(data, integers(0, 15) + lowest)
        else:
            values = np.add(data, lowest, dtype=np.float32)
        if self.zeros:
            self.by_block(np.subtract, values, self._zero_points(stored), stored.first)
        return values

    def _zero_points(self, stored: Stored) -> Floats:
        """[rows, groups]: field r mod n of word r // n is row r's, n being the fields in a word."""
        words = stored.blobs[3].view("<u4").reshape(-1, self.across(stored.cols))
        rows = stored.first + np.arange(stored.rows)
        shifts = (self.bits * (rows % self._fields)).astype(np.uint32)[:, None]
        fields = words[rows // self._fields - stored.first // self._fields] >> shifts & ((1 << self.bits) - 1)
        return fields.astype(np.float32)


def _block(scales: TensorHeader, shape: tuple[int, int], quantization: Mapping[str, object]) -> Block:
    """One scale for all, for each row, or for each group: of equal groups without a word of config.json."""
    if prod(scales.shape) == 1:
        return TENSOR
    if scales.shape in ((shape[0],), (shape[0], 1)):
        return ROW
    block = declared_block(quantization) or (1, max(1, shape[1] // scales.shape[-1]))
    check_grid(scales, shape, block)
    return block


def _sides(weights: TensorHeader, beside: Sequence[TensorHeader]) -> str:
    """The dtype of weight_shape; CheckpointError unless it is there, and two numbers."""
    shape = next((header for header in beside if header.name.endswith("weight_shape")), None)
    if shape is None:
        name = weights.name.replace("weight_packed", "weight_shape")
        found = f"packed integers, but there is no {name} in any shard"
        advice = "download the shard that has it, or compare with the original checkpoint"
        raise CheckpointError(f"tensor {weights.name}", found, advice)
    if shape.dtype not in _SIDES or shape.shape != (2,):
        found = f"{shape.dtype} of shape {list(shape.shape)}, expected two numbers of I32 or I64"
        raise CheckpointError(f"tensor {shape.name}", found)
    return shape.dtype


def _check_zeros(zeros: TensorHeader, weights: TensorHeader, scales: TensorHeader, bits: int, block: Block) -> None:
    expected = (-(-weights.shape[0] * bits // _WORD), prod(scales.shape[1:]))
    if (zeros.dtype, zeros.shape) != ("I32", expected):
        found = f"{zeros.dtype} of shape {list(zeros.shape)}, expected I32 of shape {list(expected)}"
        raise CheckpointError(f"tensor {zeros.name}", found)
    if block[0] != 1:
        raise CheckpointError(f"tensor {zeros.name}", "zero points, but a scale is shared by several rows")
