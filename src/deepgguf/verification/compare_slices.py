"""One slice against its source: bit by bit where the type is exact, within its bound where it is quantized."""

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf.encodings import PLAIN
from deepgguf.encodings.encoding import Bytes, Floats, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType, block_of
from deepgguf.verification.counterparts import Counterpart
from deepgguf.verification.decoders import decode
from deepgguf.verification.error_bounds import allowed_error
from deepgguf.verification.mismatches import Squares, Wrong
from deepgguf.verification.plain_bits import BIT_TYPES, Bits, from_bits, rounded_to, same_bits, to_bits
from deepgguf.verification.slices import Slice

ReadSource = Callable[[int, int, NDArray[np.uint8]], None]
"""(file, offset, buffer)"""


class Comparison(msgspec.Struct, frozen=True):
    """What holds for every slice: how to read its source, whether the file was made with an importance matrix."""

    read: ReadSource
    buffers: Buffers
    weighted: bool


def compare_slice(
    pair: Counterpart, piece: Slice, data: Bytes, comparison: Comparison
) -> tuple[Wrong | None, Squares | None]:
    """The wrong weights of `data`, the slice's bytes in the file, and for quantized types the sums for their errors."""
    type, buffers = pair.tensor.type, comparison.buffers
    encoding, stored = pair.sources[piece.source].encoding, _stored(pair, piece, comparison)
    if type not in PLAIN:
        values = encoding.values(stored, buffers)
        if encoding.plain not in (encoding.type, GGMLType.F32):  # as converting first would have rounded them
            values = from_bits(encoding.plain, to_bits(encoding.plain, values))
        return _compare_within_bounds(type, piece, data, values, weighted=comparison.weighted)
    found = _found_bits(type, piece, data)
    if encoding.type is type:
        copied = _as_bits(type, piece, stored.blobs[0])
        return (None if same_bits(copied, found) else _wrong_bits(type, piece, copied, found)), None
    values = encoding.values(stored, buffers)
    right = rounded_to(type, values, found, buffers)
    return (None if right else _wrong_bits(type, piece, to_bits(type, values), found)), None


def _found_bits(type: GGMLType, piece: Slice, data: Bytes) -> Bits:
    """The slice's bits, [rows, cols] as in the source."""
    if piece.transposed:
        turned: Bits = np.ascontiguousarray(data.view(BIT_TYPES[type]).reshape(piece.cols, piece.rows).T)
        return turned
    return _as_bits(type, piece, data)


def _as_bits(type: GGMLType, piece: Slice, data: Bytes) -> Bits:
    """Bytes of the slice's rows as [rows, cols]."""
    bits: Bits = data.view(BIT_TYPES[type])
    return bits.reshape(piece.rows, piece.cols)


def _stored(pair: Counterpart, piece: Slice, comparison: Comparison) -> Stored:
    """The slice's source rows as they are stored."""
    source, blobs = pair.sources[piece.source], []
    ranges = source.encoding.ranges(piece.cols, piece.source_row, piece.rows)
    for number, (blob, (start, nbytes)) in enumerate(zip(source.blobs, ranges, strict=True)):
        buffer = comparison.buffers.take(f"blob {number}", nbytes)
        comparison.read(blob.file, blob.offset + start, buffer)
        blobs.append(buffer)
    return Stored(source.name, piece.source_row, piece.rows, piece.cols, tuple(blobs))


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
    weights = block_of(type).weights
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
