"""One slice against its source: bit by bit where the type is exact, within its bound where it is quantized."""

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.checkpoint.shards import SourceTensor
from deepgguf.executors.threads import Buffers
from deepgguf.formats.gguf.types import BLOCKS, PLAIN, GGMLType
from deepgguf.verification.counterparts import Counterpart
from deepgguf.verification.decoders import decode
from deepgguf.verification.error_bounds import allowed_error
from deepgguf.verification.mismatches import Squares, Wrong
from deepgguf.verification.slices import Slice
from deepgguf.verification.source_values import (
    BIT_TYPES,
    SAME,
    WIDTHS,
    Bits,
    Bytes,
    Floats,
    Fp8Rows,
    fp8_values,
    from_bits,
    rounded_to,
    same_bits,
    scale_floats,
    to_bits,
    to_floats,
)

ReadSource = Callable[[int, int, NDArray[np.uint8]], None]
"""(file, offset, buffer)"""


class Comparison(msgspec.Struct, frozen=True):
    """What holds for every slice of a file: how to read its source, and how the file was made.

    `block` is how many rows and columns of an FP8 source share a scale; `weighted` says that there was an importance
    matrix.
    """

    read: ReadSource
    block: tuple[int, int]
    weighted: bool


def compare_slice(
    pair: Counterpart, piece: Slice, data: Bytes, comparison: Comparison, buffers: Buffers
) -> tuple[Wrong | None, Squares | None]:
    """The wrong weights of `data`, the slice's bytes in the file, and for quantized types the sums for their errors."""
    type, dtype = pair.tensor.type, pair.sources[piece.part].dtype
    if type not in PLAIN:
        values = _source_values(pair, piece, comparison, buffers)
        if dtype not in SAME:  # FP8 is rounded to BF16 before it is quantized
            values = from_bits(GGMLType.BF16, to_bits(GGMLType.BF16, values))
        return _compare_within_bounds(type, piece, data, values, weighted=comparison.weighted)
    found: Bits = data.view(BIT_TYPES[type])
    if piece.transposed:
        found = np.ascontiguousarray(found.reshape(piece.cols, piece.rows).T)
    found = found.reshape(piece.rows, piece.cols)
    if SAME.get(dtype) is type:
        copied: Bits = _read_rows(pair, piece, comparison, buffers).view(BIT_TYPES[type])
        return (None if same_bits(copied, found) else _wrong_bits(type, piece, copied, found)), None
    values = _source_values(pair, piece, comparison, buffers)
    right = rounded_to(type, values, found, buffers)
    return (None if right else _wrong_bits(type, piece, to_bits(type, values), found)), None


def _source_values(pair: Counterpart, piece: Slice, comparison: Comparison, buffers: Buffers) -> Floats:
    """The slice's source rows as float32 [rows, cols]."""
    source, scale = _read_rows(pair, piece, comparison, buffers), pair.scales[piece.part]
    if scale is None:
        return to_floats(pair.sources[piece.part].dtype, source)
    scales = _read_scales(scale, piece, comparison)
    return fp8_values(Fp8Rows(source, scales, piece.source_row, comparison.block), buffers)


def _read_rows(pair: Counterpart, piece: Slice, comparison: Comparison, buffers: Buffers) -> Bytes:
    """The slice's source rows as they are stored, uint8 [rows, bytes of a row]."""
    tensor = pair.sources[piece.part]
    row_size = piece.cols * WIDTHS[tensor.dtype]
    data: Bytes = buffers.take("source", piece.rows * row_size)
    comparison.read(tensor.file, tensor.offset + piece.source_row * row_size, data)
    return data.reshape(piece.rows, row_size)


def _read_scales(scale: SourceTensor, piece: Slice, comparison: Comparison) -> Floats:
    """The scales of the blocks that the slice's rows touch, [block rows, block columns]."""
    height = comparison.block[0]
    first, last = piece.source_row // height, (piece.source_row + piece.rows - 1) // height
    row_size = scale.nbytes // scale.shape[0]
    data = np.empty((last - first + 1) * row_size, np.uint8)
    comparison.read(scale.file, scale.offset + first * row_size, data)
    return scale_floats(scale.dtype, data).reshape(last - first + 1, scale.shape[1])


def _wrong_bits(type: GGMLType, piece: Slice, expected: Bits, found: Bits) -> Wrong | None:
    """Both [rows, cols] as in the source."""
    wrong = expected != found
    if not wrong.any():
        return None
    values = from_bits(type, expected), from_bits(type, found)
    wrong &= ~(np.isnan(values[0]) & np.isnan(values[1]))  # a NaN may have any payload
    if piece.transposed:
        return _first_wrong(piece, wrong.T, values[0].T, values[1].T, None)
    return _first_wrong(piece, wrong, values[0], values[1], None)


def _compare_within_bounds(
    type: GGMLType, piece: Slice, data: Bytes, values: Floats, *, weighted: bool
) -> tuple[Wrong | None, Squares]:
    """`values` [rows, cols] as in the source."""
    if piece.transposed:
        values = np.ascontiguousarray(values.T)
    rows = data.reshape(len(values), -1)
    decoded = decode(type, rows, values.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(values - decoded)
        allowed = allowed_error(type, rows, values, weighted=weighted)
        wrong = ~(error <= allowed) & _in_finite_blocks(type, values)
    finite = np.isfinite(values) & np.isfinite(error)
    squares = Squares(
        float(np.square(error, dtype=np.float64, where=finite, out=np.zeros(error.shape)).sum()),
        float(np.square(values, dtype=np.float64, where=finite, out=np.zeros(error.shape)).sum()),
    )
    return (_first_wrong(piece, wrong, values, decoded, allowed) if wrong.any() else None), squares


def _in_finite_blocks(type: GGMLType, values: Floats) -> NDArray[np.bool_]:
    """False for the blocks with NaN or Inf in the source, of which no type can say anything."""
    weights = BLOCKS[type].weights
    finite = np.isfinite(values).reshape(-1, weights).all(axis=1)
    return np.repeat(finite, weights).reshape(values.shape)


def _first_wrong(
    piece: Slice, wrong: NDArray[np.bool_], expected: Floats, found: Floats, allowed: Floats | None
) -> Wrong | None:
    count = int(np.count_nonzero(wrong))
    if not count:
        return None
    row, column = divmod(int(wrong.argmax()), wrong.shape[1])
    within = "" if allowed is None else f" ± {allowed[row, column]:.3g}"
    shown = f"{expected[row, column]:.9g}{within}", f"{found[row, column]:.9g}"
    return Wrong(piece.head, piece.row + row, column, count, *shown)
