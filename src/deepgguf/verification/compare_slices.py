"""One slice against its source: bit by bit where the type is exact, within its bound where it is quantized."""

import numpy as np
from numpy.typing import NDArray

from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Bytes, Encoding, Floats, Squares, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType, block_of
from deepgguf.verification.error_bounds import Importance, allowed_error, counted
from deepgguf.verification.mismatches import Wrong
from deepgguf.verification.plain_bits import BIT_TYPES, Bits, from_bits, rounded_to, same_bits, to_bits
from deepgguf.verification.slices import Batch, Slice


def compare_slice(
    batch: Batch, slice: Slice, data: Bytes, stored: Stored, buffers: Buffers, importance: Importance | None = None
) -> tuple[Wrong | None, Squares | None]:
    """The wrong weights of one slice of `batch`, and for quantized types the sums for their errors.

    `data` is the slice in the file, `stored` its source rows; `importance` is that of its columns, if it was used.
    """
    type, encoding = batch.type, batch.source.encoding
    if type not in BIT_TYPES and encoding_of(type).repacks(encoding, exact=False) and not slice.transposed:
        return _compare_blocks(type, slice, data, stored, buffers, encoding), None
    if type not in BIT_TYPES:
        values = encoding.values(stored, buffers)
        if encoding.rounds_first and not batch.direct:  # as converting first would have rounded them
            values = from_bits(encoding.plain, to_bits(encoding.plain, values))
        return _compare_within_bounds(type, slice, data, values, importance)
    found = _found_bits(type, slice, data)
    if encoding.type is type:
        copied = _as_bits(type, slice, stored.blobs[0])
        return (None if same_bits(copied, found) else _wrong_bits(type, slice, copied, found)), None
    values = encoding.values(stored, buffers)
    right = rounded_to(type, values, found, buffers)
    return (None if right else _wrong_bits(type, slice, to_bits(type, values), found)), None


def _found_bits(type: GGMLType, slice: Slice, data: Bytes) -> Bits:
    """The slice's bits, [rows, cols] as in the source."""
    if slice.transposed:
        turned: Bits = np.ascontiguousarray(data.view(BIT_TYPES[type]).reshape(slice.cols, slice.rows).T)
        return turned
    return _as_bits(type, slice, data)


def _as_bits(type: GGMLType, slice: Slice, data: Bytes) -> Bits:
    """Bytes of the slice's rows as [rows, cols]."""
    bits: Bits = data.view(BIT_TYPES[type])
    return bits.reshape(slice.rows, slice.cols)


def _wrong_bits(type: GGMLType, slice: Slice, expected: Bits, found: Bits) -> Wrong | None:
    """Both [rows, cols] as in the source."""
    wrong = expected != found
    if not wrong.any():
        return None
    values = from_bits(type, expected), from_bits(type, found)
    wrong &= ~(np.isnan(values[0]) & np.isnan(values[1]))  # a NaN may have any payload
    if slice.transposed:
        return _first_wrong(slice, wrong.T, values[0].T, values[1].T, None)
    return _first_wrong(slice, wrong, values[0], values[1], None)


def _compare_blocks(
    type: GGMLType, slice: Slice, data: Bytes, stored: Stored, buffers: Buffers, encoding: Encoding
) -> Wrong | None:
    """Blocks of codes and scales that nothing was computed for, byte by byte: any block that differs is wrong."""
    packed = encoding.packed(stored)
    if same_bits(packed, data):
        return None
    expected = encoding.values(stored, buffers)
    found = encoding_of(type).values(Stored("", 0, slice.rows, slice.cols, (data,)), Buffers())
    block, wrong = block_of(type), expected != found
    blocks = (packed != data).reshape(-1, block.nbytes).any(axis=1)
    alike = blocks & ~wrong.reshape(-1, block.weights).any(axis=1)  # zeros: of the other sign, or with another scale
    wrong |= np.repeat(alike, block.weights).reshape(wrong.shape)
    return _first_wrong(slice, wrong, expected, found, None)


def _compare_within_bounds(
    type: GGMLType, slice: Slice, data: Bytes, values: Floats, importance: Importance | None
) -> tuple[Wrong | None, Squares]:
    """`values` [rows, cols] as in the source."""
    if slice.transposed:
        values = np.ascontiguousarray(values.T)
    decoded = encoding_of(type).values(Stored("", 0, len(values), values.shape[1], (data,)), Buffers())
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(values - decoded)
        allowed = allowed_error(type, data.reshape(len(values), -1), values, importance)
        wrong = ~(error <= allowed) & _in_finite_blocks(type, values)
    finite = np.isfinite(values) & np.isfinite(error)
    if importance and importance.columns is not None:
        finite &= counted(importance.columns, values, block_of(type).weights)
    squares = Squares(
        float(np.square(error, dtype=np.float64, where=finite, out=np.zeros(error.shape)).sum()),
        float(np.square(values, dtype=np.float64, where=finite, out=np.zeros(error.shape)).sum()),
    )
    return _first_wrong(slice, wrong, values, decoded, allowed), squares


def _in_finite_blocks(type: GGMLType, values: Floats) -> NDArray[np.bool_]:
    """False for the blocks with NaN or Inf in the source, of which no type can say anything."""
    weights = block_of(type).weights
    finite = np.isfinite(values).reshape(-1, weights).all(axis=1)
    return np.repeat(finite, weights).reshape(values.shape)


def _first_wrong(
    slice: Slice, wrong: NDArray[np.bool_], expected: Floats, found: Floats, allowed: Floats | None
) -> Wrong | None:
    count = int(np.count_nonzero(wrong))
    if not count:
        return None
    row, column = divmod(int(wrong.argmax()), wrong.shape[1])
    within = "" if allowed is None else f" ± {allowed[row, column]:.3g}"
    shown = f"{expected[row, column]:.9g}{within}", f"{found[row, column]:.9g}"
    return Wrong(slice.head, slice.row + row, column, count, *shown)
