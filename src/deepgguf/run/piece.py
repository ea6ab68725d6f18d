"""One piece: source bytes to output bytes."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

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

_Said = TypeVar("_Said")


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

    What `buffers` still hold of the piece before is not made again: its weights, if it was made of the same rows, and
    its bytes, if it is the same in another file.

    Raises what `read` raises, CheckpointError for scales that no quantizer makes, NonFiniteError for scales that are
    not finite, and for a quantized block whose scale is more than F16 holds.
    """
    target, work = share.output.encoding, _work(share, piece, read, buffers, scratch)
    if isinstance(target, Plain):
        return Made(*(work.turned(target.type) if share.output.view.transposed else work.decoded(target.type)))
    if share.output.repacks(share.source.encoding):
        return Made(*work.made("out", work.sizes.out, (target.type,), lambda out: work.repack(target, out)))
    floats, counts = work.floats()

    def quantize(out: Bytes) -> None:
        _quantize(share, piece, floats, importance, out)
        if not sum(counts):
            _check_scales(share, piece, target, floats, out)

    by = share.output.importance, importance, piece.source, piece.group
    out, _ = work.made("out", work.sizes.out, (target.type, share.output.view, work.rounds, by), quantize)
    return Made(out, counts, floats)


def weights_of(share: Share, piece: Piece, read: ReadByNumber, buffers: Buffers) -> Floats:
    """The weights that `make_piece` quantizes: float32 [n] in the output's order, valid until `buffers` are used again.

    Raises what `read` raises, CheckpointError for scales that no quantizer makes, NonFiniteError for scales that are
    not finite.
    """
    return _work(share, piece, read, buffers, weights_scratch).floats()[0]


class _Work(NamedTuple):
    """What the steps from stored rows to weights have in common; `rows` are those of the source, in runs."""

    share: Share
    piece: Piece
    read: ReadByNumber
    buffers: Buffers
    sizes: Scratch
    rows: tuple[tuple[int, int], ...]

    @property
    def rounds(self) -> bool:
        """Whether weights are rounded as an unquantized conversion would, before they are quantized."""
        return self.share.output.rounds_first(self.share.source.encoding)

    def made(self, name: str, nbytes: int, how: object, make: Callable[[Bytes], _Said]) -> tuple[Bytes, _Said]:
        """What `make` makes of these rows in the buffer `name`, in a way that `how` tells from others; made once."""
        content = self.read, self.share.source, self.share.output.view.cols, self.rows, how
        return self.buffers.made(name, nbytes, content, make)

    def decoded(self, type: GGMLType) -> tuple[Bytes, Counts]:
        """All source rows as F32, F16 or BF16, in the source's order."""
        nbytes = self.piece.groups * self.piece.rows * row_bytes(type, self.share.output.view.cols)
        return self.made(f"as {type.name}", nbytes, None, lambda out: self._decode(type, out))

    def turned(self, type: GGMLType) -> tuple[Bytes, Counts]:
        """The same with every group transposed."""
        decoded, counts = self.decoded(type)
        return self._transposed(decoded, type.name), counts

    def floats(self) -> tuple[Floats, Counts]:
        """The piece's weights in the order of the output, rounded as an unquantized conversion would round them."""
        floats, counts = self._rounded() if self.rounds else self.decoded(GGMLType.F32)
        if self.share.output.view.transposed:
            floats = self._transposed(floats, "rounded" if self.rounds else "as they are")
        return floats.view(np.float32), counts

    def repack(self, target: Quantized, out: Bytes) -> Counts:
        """The stored rows themselves, as the output's blocks."""
        done, length, source = 0, self.share.output.view.cols, self.share.source.encoding
        for first, rows in self.rows:
            nbytes = rows * row_bytes(self.share.output.info.type, length)
            source.repack(self._stored(first, rows), out[done : done + nbytes])
            done += nbytes
        # Scales of a checkpoint are looked at by its form; a GGUF's blocks have passed through nothing yet.
        return Counts(nan=target.odd_blocks(out) if isinstance(source, Quantized) else 0)

    def _rounded(self) -> tuple[Bytes, Counts]:
        plain = self.share.source.encoding.plain
        decoded, counts = self.decoded(plain)

        def widen(out: Bytes) -> None:
            kernels.cast(decoded, plain, out, GGMLType.F32)

        return self.made("as F32", self.sizes.decoded, "rounded", widen)[0], counts

    def _transposed(self, decoded: Bytes, how: str) -> Bytes:
        """Every group's (rows, columns) as (columns, rows)."""
        groups, rows, cols = self.piece.groups, self.piece.rows, self.share.output.view.cols

        def transpose(out: Bytes) -> None:
            element = np.uint32 if out.size == 4 * groups * rows * cols else np.uint16
            turned = out.view(element).reshape(groups, cols, rows)
            np.copyto(turned, decoded.view(element).reshape(groups, rows, cols).transpose(0, 2, 1))

        return self.made("turned", decoded.size, (how, groups), transpose)[0]

    def _decode(self, type: GGMLType, out: Bytes) -> Counts:
        counts, done = Counts(), 0
        for first, rows in self.rows:
            stored = self._stored(first, rows)
            nbytes = rows * row_bytes(type, stored.cols)
            counts = counts.plus(self.share.source.encoding.decode(stored, type, out[done : done + nbytes]))
            done += nbytes
        return counts

    def _stored(self, first: int, rows: int) -> Stored:
        return self.share.source.read_rows(self.share.output.view.cols, first, rows, self.read, self.buffers)


def _work(share: Share, piece: Piece, read: ReadByNumber, buffers: Buffers, sizes: Callable[..., Scratch]) -> _Work:
    rows = tuple(runs(share.output.view, piece))
    return _Work(share, piece, read, buffers, sizes(share.output, share.source.encoding, piece), rows)


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
