"""One piece: source bytes to output bytes."""

from typing import NamedTuple

import numpy as np

from deepgguf import kernels
from deepgguf.checkpoint.importance import ImportanceFile
from deepgguf.encodings.encoding import Bytes, Counts, Floats, Stored
from deepgguf.encodings.plain import Plain
from deepgguf.encodings.quantized import Quantized
from deepgguf.errors import NonFiniteError
from deepgguf.executors.buffers import Buffers
from deepgguf.files.files import ReadByNumber
from deepgguf.formats.gguf.types import GGMLType, row_bytes
from deepgguf.planning.pieces import Piece, runs
from deepgguf.planning.scratch import Scratch, scratch, weights_scratch
from deepgguf.planning.windows import Share


class Made(NamedTuple):
    """A finished piece, valid until its worker's buffers are used again: bytes, counts, the floats they were made of.

    `floats` is None where nothing was quantized.
    """

    out: Bytes
    counts: Counts
    floats: Floats | None = None


def make_piece(
    share: Share, piece: Piece, read: ReadByNumber, buffers: Buffers, importance: ImportanceFile | None = None
) -> Made:
    """The bytes of `piece`, valid until `buffers` are used again, and what was counted on the way.

    Raises what `read` raises, CheckpointError for scales that no quantizer makes, NonFiniteError for scales that are
    not finite, and for a quantized block whose scale is more than F16 holds.
    """
    target, transposed = share.output.encoding, share.output.view.transposed
    sizes = scratch(share.output, share.source.encoding, piece)
    work = _Work(share, piece, read, buffers, sizes)
    out = buffers.take("out", sizes.out)
    if isinstance(target, Plain):
        if not transposed:
            return Made(out, work.decode(target.type, out))
        decoded = buffers.take("decoded", sizes.decoded)
        counts = work.decode(target.type, decoded)
        work.transpose(decoded, out)
        return Made(out, counts)
    if share.output.repacks(share.source.encoding):
        work.repack(out)
        # Scales of a checkpoint are looked at by its form; a GGUF's blocks have passed through nothing yet.
        odd = target.odd_blocks(out) if isinstance(share.source.encoding, Quantized) else 0
        return Made(out, Counts(nan=odd))
    counts, floats = work.floats()
    _quantize(share, piece, floats, importance, out)
    if not sum(counts):
        _check_scales(share, piece, target, floats, out)
    return Made(out, counts, floats)


def weights_of(share: Share, piece: Piece, read: ReadByNumber, buffers: Buffers) -> Floats:
    """The weights that `make_piece` quantizes: float32 [n] in the output's order, valid until `buffers` are used again.

    Raises what `read` raises, CheckpointError for scales that no quantizer makes, NonFiniteError for scales that are
    not finite.
    """
    sizes = weights_scratch(share.output, share.source.encoding, piece)
    return _Work(share, piece, read, buffers, sizes).floats()[1]


class _Work(NamedTuple):
    """What the steps from stored rows to weights have in common."""

    share: Share
    piece: Piece
    read: ReadByNumber
    buffers: Buffers
    sizes: Scratch

    def decode(self, type: GGMLType, out: Bytes) -> Counts:
        """All source rows as F32, F16 or BF16, in the source's order."""
        counts, done = Counts(), 0
        for first, rows in runs(self.share.output.view, self.piece):
            stored = self._stored(first, rows)
            nbytes = rows * row_bytes(type, stored.cols)
            counts = counts.plus(self.share.source.encoding.decode(stored, type, out[done : done + nbytes]))
            done += nbytes
        return counts

    def floats(self) -> tuple[Counts, Floats]:
        """The piece's weights in the order of the output, rounded as an unquantized conversion would round them."""
        source, decoded = self.share.source.encoding, self.buffers.take("decoded", self.sizes.decoded)
        if self.share.output.rounds_first(source):
            rounded = self.buffers.take("rounded", self.sizes.rounded)
            counts = self.decode(source.plain, rounded)
            kernels.cast(rounded, source.plain, decoded, GGMLType.F32)
        else:
            counts = self.decode(GGMLType.F32, decoded)
        if self.share.output.view.transposed:
            turned = self.buffers.take("turned", self.sizes.turned)
            self.transpose(decoded, turned)
            decoded = turned
        return counts, decoded.view(np.float32)

    def repack(self, out: Bytes) -> None:
        """The stored rows themselves, as the output's blocks."""
        done, length = 0, self.share.output.view.cols
        for first, rows in runs(self.share.output.view, self.piece):
            nbytes = rows * row_bytes(self.share.output.info.type, length)
            self.share.source.encoding.repack(self._stored(first, rows), out[done : done + nbytes])
            done += nbytes

    def transpose(self, source: Bytes, out: Bytes) -> None:
        """Every group's (rows, columns) to (columns, rows)."""
        shape = (self.piece.groups, self.piece.rows, self.share.output.view.cols)
        element = np.uint32 if out.size == 4 * shape[0] * shape[1] * shape[2] else np.uint16
        turned = out.view(element).reshape(shape[0], shape[2], shape[1])
        np.copyto(turned, source.view(element).reshape(shape).transpose(0, 2, 1))

    def _stored(self, first: int, rows: int) -> Stored:
        return self.share.source.read_rows(self.share.output.view.cols, first, rows, self.read, self.buffers)


def _quantize(share: Share, piece: Piece, floats: Floats, importance: ImportanceFile | None, out: Bytes) -> None:
    """`importance` gives each matrix's columns their weights, if the output has an entry in it."""
    target, length, entry = share.output.encoding, share.output.view.row_length, share.output.importance
    assert isinstance(target, Quantized)
    if entry is None:
        target.encode(floats, length, None, out)
        return
    assert importance is not None
    weights, nbytes = floats.size // piece.groups, out.size // piece.groups
    for group in range(piece.groups):
        matrix = piece.source * share.output.view.groups + piece.group + group
        columns = importance.columns(entry, matrix)
        run, made = floats[group * weights :][:weights], out[group * nbytes :][:nbytes]
        target.encode(run, length, columns, made)


def _check_scales(share: Share, piece: Piece, target: Quantized, floats: Floats, out: Bytes) -> None:
    """NonFiniteError if a block's scale became infinite: its weights are finite, but not within F16's range."""
    at, length = target.too_large(floats, out), share.output.view.row_length
    if at is None:
        return
    row = piece.offset // row_bytes(target.type, length) + at // length
    found = f"row {row} has weights that are too large for the scales of {target.type.name}, which are F16"
    raise NonFiniteError(f"tensor {share.output.info.name}", found, 'choose `type="bf16"`, or `tensor_types` for it')
