"""One piece: source bytes to output bytes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepgguf import kernels
from deepgguf.checkpoint.fp8 import WEIGHT_DTYPE, check_scales, scale_values
from deepgguf.checkpoint.shards import SourceTensor
from deepgguf.errors import NonFiniteError
from deepgguf.executors.threads import Buffers
from deepgguf.formats.gguf.types import BLOCKS, PLAIN, SCALES, GGMLType, row_bytes
from deepgguf.planning.pieces import Piece
from deepgguf.planning.schema import Part, PlannedTensor

# What the widest quantized types can hold: the largest F16, times a sub-block's scale, times a level (Q6_K, IQ4_XS).
_LARGEST = 65504.0 * 128 * 32

Bytes = NDArray[np.uint8]
Read = Callable[[int, int, Bytes], None]  # (file, offset, buffer)
Importance = Callable[[str, int, int], NDArray[np.float32]]  # (tensor, first column over all its matrices, columns)

_TYPES = {"F32": GGMLType.F32, "F16": GGMLType.F16, "BF16": GGMLType.BF16}
_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, WEIGHT_DTYPE: 1}


class Counts(NamedTuple):
    """Source weights that are NaN or infinite, and finite ones that the output's type made infinite."""

    nan: int = 0
    inf: int = 0
    overflow: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(self.nan + other.nan, self.inf + other.inf, self.overflow + other.overflow)


class Made(NamedTuple):
    """A finished piece, valid until its worker's buffers are used again: bytes, counts, the floats they were made of.

    `floats` is None where nothing was quantized.
    """

    out: Bytes
    counts: Counts
    floats: NDArray[np.float32] | None = None


def make_piece(
    tensor: PlannedTensor,
    piece: Piece,
    read: Read,
    block: tuple[int, int],
    buffers: Buffers,
    importance: Importance | None = None,
) -> Made:
    """The bytes of `piece`, valid until `buffers` are used again, and what was counted on the way.

    `read(file, offset, buffer)` fills a buffer with bytes of a source; `block` is the FP8 block (rows, columns);
    `importance` gives the columns' weights, float32, one per column.

    Raises what `read` raises, CheckpointError for an FP8 scale that is not positive, NonFiniteError for one that is
    NaN or infinite and for a quantized block whose scale is more than F16 holds.
    """
    type, out = tensor.info.type, buffers.take("out", piece.nbytes)
    weights = piece.groups * piece.rows * tensor.rows.cols
    source = _read_rows(tensor, piece, read, buffers)
    if type in PLAIN:
        if not tensor.rows.transposed:
            return Made(out, _decode(tensor, piece, source, read, block, out, type))
        turned = buffers.take("turned", piece.nbytes)
        counts = _decode(tensor, piece, source, read, block, turned, type)
        _transpose(tensor, piece, turned, out)
        return Made(out, counts)
    floats = buffers.take("floats", weights * 4)
    counts = _to_floats(tensor, piece, source, read, block, floats, buffers)
    if tensor.rows.transposed:
        turned = buffers.take("turned", weights * 4)
        _transpose(tensor, piece, floats, turned)
        floats = turned
    _quantize(tensor, piece, floats, importance, out)
    if not sum(counts):
        _check_scales(tensor, piece, floats.view(np.float32), out)
    return Made(out, counts, floats.view(np.float32))


def _read_rows(tensor: PlannedTensor, piece: Piece, read: Read, buffers: Buffers) -> Bytes:
    """The piece's source rows, one group after the other."""
    rows, source = tensor.rows, tensor.parts[piece.part].source
    row_size = rows.cols * _WIDTHS[tensor.dtype]
    run = piece.rows * row_size
    data = buffers.take("source", piece.groups * run)
    if rows.taken == rows.group_rows:
        read(source.file, source.offset + (piece.group * rows.group_rows + piece.row) * row_size, data)
        return data
    for i in range(piece.groups):
        row = (piece.group + i) * rows.group_rows + rows.start + piece.row
        read(source.file, source.offset + row * row_size, data[i * run : (i + 1) * run])
    return data


def _decode(
    tensor: PlannedTensor, piece: Piece, source: Bytes, read: Read, block: tuple[int, int], out: Bytes, type: GGMLType
) -> Counts:
    """Source rows as `type` (F32, F16 or BF16), in the source's order."""
    if tensor.dtype != WEIGHT_DTYPE:
        return Counts(*kernels.cast(source, _TYPES[tensor.dtype], out, type))
    rows, counts, per_group = tensor.rows, Counts(), out.size // piece.groups
    run = piece.rows * rows.cols
    for i in range(piece.groups):
        row = (piece.group + i) * rows.group_rows + rows.start + piece.row
        scales = _scales(tensor.parts[piece.part], rows.cols, row, piece.rows, read, block)
        part = out[i * per_group : (i + 1) * per_group]
        found = kernels.fp8(source[i * run : (i + 1) * run], rows.cols, row, scales, *block, part, type)
        counts = counts.plus(Counts(*found))
    return counts


def _scales(part: Part, cols: int, row: int, rows: int, read: Read, block: tuple[int, int]) -> NDArray[np.float32]:
    """The scales of the blocks that rows [row, row + rows) touch."""
    scale = part.scale
    assert scale is not None
    across, first, last = -(-cols // block[1]), row // block[0], (row + rows - 1) // block[0]
    width = _scale_width(scale)
    data = np.empty((last - first + 1) * across * width, np.uint8)
    read(scale.file, scale.offset + first * across * width, data)
    values = scale_values(data, scale.dtype)
    check_scales(values.reshape(-1, across), f"tensor {scale.name}", first)
    return values


def _scale_width(scale: SourceTensor) -> int:
    return scale.nbytes // max(1, scale.shape[0] * scale.shape[1])


def _to_floats(
    tensor: PlannedTensor,
    piece: Piece,
    source: Bytes,
    read: Read,
    block: tuple[int, int],
    floats: Bytes,
    buffers: Buffers,
) -> Counts:
    """Source rows as F32. FP8 goes through BF16, so that one pass gives what two steps give."""
    if tensor.dtype != WEIGHT_DTYPE:
        return _decode(tensor, piece, source, read, block, floats, GGMLType.F32)
    rounded = buffers.take("rounded", floats.size // 2)
    counts = _decode(tensor, piece, source, read, block, rounded, GGMLType.BF16)
    kernels.cast(rounded, GGMLType.BF16, floats, GGMLType.F32)
    return counts


def _transpose(tensor: PlannedTensor, piece: Piece, source: Bytes, out: Bytes) -> None:
    """Every group's (rows, columns) to (columns, rows)."""
    width = out.size // (piece.groups * piece.rows * tensor.rows.cols)
    element = np.uint32 if width == 4 else np.uint16
    shape = (piece.groups, piece.rows, tensor.rows.cols)
    turned = out.view(element).reshape(shape[0], shape[2], shape[1])
    np.copyto(turned, source.view(element).reshape(shape).transpose(0, 2, 1))


def _check_scales(tensor: PlannedTensor, piece: Piece, values: NDArray[np.float32], out: Bytes) -> None:
    """NonFiniteError if a block's scale became infinite: its weights are finite, but not within F16's range."""
    type = tensor.info.type
    if type not in SCALES:
        return
    # Q8_0's scale is a quotient; the others search theirs by sums of squares, which are NaN before the scale shows it.
    if type is not GGMLType.Q8_0 and max(values.max(), -values.min()) > _LARGEST:
        raise _too_large(tensor, piece, int(np.abs(values).argmax()) // tensor.rows.row_length)
    blocks = out.reshape(-1, BLOCKS[type].nbytes)
    for at in SCALES[type]:
        odd = blocks[:, at + 1] & 0x7C == 0x7C  # all bits of the exponent
        if odd.any():
            raise _too_large(tensor, piece, int(odd.argmax()) * BLOCKS[type].weights // tensor.rows.row_length)


def _too_large(tensor: PlannedTensor, piece: Piece, row: int) -> NonFiniteError:
    type = tensor.info.type
    row += piece.offset // row_bytes(type, tensor.rows.row_length)
    found = f"row {row} has weights that are too large for the scales of {type.name}, which are F16"
    return NonFiniteError(f"tensor {tensor.info.name}", found, 'choose `type="bf16"`, or `tensor_types` for it')


def _quantize(tensor: PlannedTensor, piece: Piece, floats: Bytes, importance: Importance | None, out: Bytes) -> None:
    length, type = tensor.rows.row_length, tensor.info.type
    size = row_bytes(type, length)
    values = floats.view(np.float32)
    if importance is None or not tensor.weighted:
        kernels.quantize(values, length, type, None, out, size)
        return
    weights, nbytes = values.size // piece.groups, out.size // piece.groups
    for i in range(piece.groups):
        matrix = piece.part * tensor.rows.groups + piece.group + i
        columns = importance(tensor.info.name, matrix * length, length)
        run, made = values[i * weights : (i + 1) * weights], out[i * nbytes : (i + 1) * nbytes]
        kernels.quantize(run, length, type, columns, made, size)
