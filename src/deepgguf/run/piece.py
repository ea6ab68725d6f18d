"""One piece: source bytes to output bytes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from deepgguf import kernels
from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Bytes, Counts, Floats, Stored
from deepgguf.encodings.quantized import Quantized
from deepgguf.errors import NonFiniteError
from deepgguf.executors.threads import Buffers
from deepgguf.formats.gguf.types import GGMLType, row_bytes
from deepgguf.planning.needs import buffer_sizes
from deepgguf.planning.pieces import Piece, runs
from deepgguf.planning.schema import PlannedTensor

Read = Callable[[int, int, Bytes], None]  # (file, offset, buffer)
Importance = Callable[[str, int, int], Floats]  # (tensor, first column over all its matrices, columns)


class Made(NamedTuple):
    """A finished piece, valid until its worker's buffers are used again: bytes, counts, the floats they were made of.

    `floats` is None where nothing was quantized.
    """

    out: Bytes
    counts: Counts
    floats: Floats | None = None


def make_piece(
    tensor: PlannedTensor, piece: Piece, read: Read, scratch: Buffers, importance: Importance | None = None
) -> Made:
    """The bytes of `piece`, valid until `scratch` is used again, and what was counted on the way.

    `read(file, offset, buffer)` fills a buffer with bytes of a source; `importance` gives the columns' weights,
    float32, one per column.

    Raises what `read` and the source's encoding raise, and NonFiniteError for a quantized block whose scale is more
    than F16 holds.
    """
    target, turns = encoding_of(tensor.info.type), tensor.rows.transposed
    held = {name: scratch.take(name, nbytes) for name, nbytes in buffer_sizes(tensor, piece).items()}
    out = held["out"]
    if not isinstance(target, Quantized):
        counts = _decode(tensor, piece, read, held, held["turned" if turns else "out"], target.type)
        if turns:
            _transpose(tensor, piece, held["turned"], out)
        return Made(out, counts)
    if "floats" not in held:
        _copy(tensor, piece, read, out)
        return Made(out, Counts())
    counts = _to_floats(tensor, piece, read, held)
    if turns:
        _transpose(tensor, piece, held["floats"], held["turned"])
    floats = held["turned" if turns else "floats"].view(np.float32)
    _quantize(tensor, piece, floats, importance, out)
    if not sum(counts):
        _check_scales(tensor, piece, target, floats, out)
    return Made(out, counts, floats)


def _copy(tensor: PlannedTensor, piece: Piece, read: Read, out: Bytes) -> None:
    """Source rows as they are."""
    source, done = tensor.sources[piece.part], 0
    for first, rows in runs(tensor.rows, piece):
        start, nbytes = source.encoding.ranges(tensor.rows.cols, first, rows)[0]
        read(source.blobs[0].file, source.blobs[0].offset + start, out[done : done + nbytes])
        done += nbytes


def _decode(
    tensor: PlannedTensor, piece: Piece, read: Read, held: dict[str, Bytes], out: Bytes, type: GGMLType
) -> Counts:
    """Source rows as `type` (F32, F16 or BF16), in the source's order."""
    source, cols, counts, done = tensor.sources[piece.part], tensor.rows.cols, Counts(), 0
    row_size = out.size // (piece.groups * piece.rows)
    for first, rows in runs(tensor.rows, piece):
        buffers = []
        for i, (start, nbytes) in enumerate(source.encoding.ranges(cols, first, rows)):
            buffers.append(held[f"blob {i}"][:nbytes])
            read(source.blobs[i].file, source.blobs[i].offset + start, buffers[i])
        stored = Stored(source.name, first, rows, cols, tuple(buffers))
        counts = counts.plus(source.encoding.decode(stored, type, out[done : done + rows * row_size]))
        done += rows * row_size
    return counts


def _to_floats(tensor: PlannedTensor, piece: Piece, read: Read, held: dict[str, Bytes]) -> Counts:
    """Source rows as F32, rounded to the source's plain type, so that one pass gives what two steps give."""
    if "rounded" not in held:
        return _decode(tensor, piece, read, held, held["floats"], GGMLType.F32)
    plain = tensor.sources[piece.part].encoding.plain
    counts = _decode(tensor, piece, read, held, held["rounded"], plain)
    kernels.cast(held["rounded"], plain, held["floats"], GGMLType.F32)
    return counts


def _transpose(tensor: PlannedTensor, piece: Piece, source: Bytes, out: Bytes) -> None:
    """Every group's (rows, columns) to (columns, rows)."""
    width = out.size // (piece.groups * piece.rows * tensor.rows.cols)
    element = np.uint32 if width == 4 else np.uint16
    shape = (piece.groups, piece.rows, tensor.rows.cols)
    turned = out.view(element).reshape(shape[0], shape[2], shape[1])
    np.copyto(turned, source.view(element).reshape(shape).transpose(0, 2, 1))


def _check_scales(tensor: PlannedTensor, piece: Piece, target: Quantized, floats: Floats, out: Bytes) -> None:
    """NonFiniteError if a block's scale became infinite: its weights are finite, but not within F16's range."""
    place = target.too_large(floats, out)
    if place is not None:
        length, name = tensor.rows.row_length, target.type.name
        row = place // length + piece.offset // row_bytes(target.type, length)
        found = f"row {row} has weights that are too large for the scales of {name}, which are F16"
        raise NonFiniteError(f"tensor {tensor.info.name}", found, "choose --type bf16, or --tensor-type for it")


def _quantize(tensor: PlannedTensor, piece: Piece, floats: Floats, importance: Importance | None, out: Bytes) -> None:
    length, target = tensor.rows.row_length, encoding_of(tensor.info.type)
    assert isinstance(target, Quantized)
    if importance is None or not tensor.weighted:
        target.encode(floats, length, None, out)
        return
    weights, nbytes = floats.size // piece.groups, out.size // piece.groups
    for i in range(piece.groups):
        matrix = piece.part * tensor.rows.groups + piece.group + i
        columns = importance(tensor.info.name, matrix * length, length)
        target.encode(floats[i * weights : (i + 1) * weights], length, columns, out[i * nbytes : (i + 1) * nbytes])
