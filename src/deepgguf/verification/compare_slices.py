"""One slice against its source: bit by bit where the type is exact, within its bound where it is quantized."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from deepgguf.encodings import PLAIN
from deepgguf.encodings.fp8 import Fp8
from deepgguf.executors.threads import Buffers
from deepgguf.formats.gguf.types import GGMLType, block_of
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.verification.counterparts import Counterpart
from deepgguf.verification.decoders import decode
from deepgguf.verification.error_bounds import allowed_error
from deepgguf.verification.mismatches import Squares, Wrong
from deepgguf.verification.slices import Slice
from deepgguf.verification.source_values import (
    BIT_TYPES,
    SAME,
    Bits,
    Bytes,
    Floats,
    fp8_bits,
    from_bits,
    scale_floats,
    to_bits,
    to_floats,
)

ReadSource = Callable[[int, int, NDArray[np.uint8]], None]
"""(file, offset, buffer)"""


def compare_slice(
    pair: Counterpart, piece: Slice, data: Bytes, read: ReadSource, weighted: bool, buffers: Buffers
) -> tuple[Wrong | None, Squares | None]:  # fmt: skip
    """The wrong weights of `data`, the slice's bytes in the file, and for quantized types the sums for their errors.

    `weighted`: the file was made with an importance matrix.
    """
    source = _read_rows(pair.sources[piece.part], piece, read, buffers)
    if pair.tensor.type in PLAIN:
        return _compare_bits(pair, piece, data, source, read, buffers), None
    return _compare_within_bounds(pair, piece, data, source, read, weighted, buffers)


def _read_rows(tensor: SourceTensor, piece: Slice, read: ReadSource, buffers: Buffers) -> Bytes:
    codes, blob = tensor.encoding.ranges(piece.cols, piece.source_row, piece.rows)[0], tensor.blobs[0]
    data: Bytes = buffers.take("source", codes.nbytes)
    read(blob.file, blob.offset + codes.start, data)
    return data


def _read_scales(tensor: SourceTensor, encoding: Fp8, piece: Slice, read: ReadSource) -> Floats:
    """The scales of the blocks that the slice's rows touch, [block rows, block columns]."""
    scales, blob = encoding.ranges(piece.cols, piece.source_row, piece.rows)[1], tensor.blobs[1]
    data = np.empty(scales.nbytes, np.uint8)
    read(blob.file, blob.offset + scales.start, data)
    return scale_floats(encoding.scale, data).reshape(-1, -(-piece.cols // encoding.block[1]))


def _expected_bits(
    pair: Counterpart, piece: Slice, source: Bytes, type: GGMLType, read: ReadSource, buffers: Buffers,
) -> Bits:  # fmt: skip
    """The slice's source rows as bits of `type`, [rows, cols]."""
    tensor = pair.sources[piece.part]
    encoding = tensor.encoding
    if isinstance(encoding, Fp8):
        scales = _read_scales(tensor, encoding, piece, read)
        return fp8_bits(type, source.reshape(piece.rows, piece.cols), scales, piece.source_row, encoding.block, buffers)
    dtype = encoding.dtype
    if SAME[dtype] is type:
        same: Bits = source.view(BIT_TYPES[type])
        return same.reshape(piece.rows, piece.cols)
    return to_bits(type, to_floats(dtype, source)).reshape(piece.rows, piece.cols)


def _compare_bits(
    pair: Counterpart, piece: Slice, data: Bytes, source: Bytes, read: ReadSource, buffers: Buffers,
) -> Wrong | None:  # fmt: skip
    type = pair.tensor.type
    expected = _expected_bits(pair, piece, source, type, read, buffers)
    found: Bits = data.view(BIT_TYPES[type])
    if not piece.transposed and np.array_equal(_words(expected), _words(found)):
        return None
    oriented = expected.T if piece.transposed else expected
    found = found.reshape(oriented.shape)
    wrong = oriented != found
    if not wrong.any():
        return None
    values = from_bits(type, np.ascontiguousarray(oriented)), from_bits(type, found)
    wrong &= ~(np.isnan(values[0]) & np.isnan(values[1]))  # a NaN may have any payload
    return _first_wrong(piece, wrong, values[0], values[1], None)


def _words(bits: Bits) -> NDArray[np.unsignedinteger]:
    """The same bytes in the widest words that fit: fewer comparisons."""
    flat = bits.reshape(-1)
    return flat.view(np.uint64) if flat.nbytes % 8 == 0 else flat


def _compare_within_bounds(
    pair: Counterpart, piece: Slice, data: Bytes, source: Bytes, read: ReadSource, weighted: bool,
    buffers: Buffers,
) -> tuple[Wrong | None, Squares]:  # fmt: skip
    """FP8 is compared after its rounding to BF16, of which it was quantized."""
    type, dtype = pair.tensor.type, pair.sources[piece.part].encoding.dtype
    if dtype in SAME:
        values = to_floats(dtype, source).reshape(piece.rows, piece.cols)
    else:
        bits = _expected_bits(pair, piece, source, GGMLType.BF16, read, buffers)
        values = from_bits(GGMLType.BF16, bits)
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
