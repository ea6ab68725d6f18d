"""What is finished of a file: tensor digests, counts of NaN, Inf and overflow, and errors, gathered piece by piece."""

import xxhash

from deepgguf.encodings import PLAIN
from deepgguf.encodings.encoding import Counts, Squares
from deepgguf.errors import NonFiniteError
from deepgguf.planning.numbering import Numbering
from deepgguf.planning.schema import PlannedTensor
from deepgguf.run.journal import Finished
from deepgguf.run.result import TensorResult


class Tally:
    """The progress of one file; its pieces may finish in any order.

    Only the coordinator changes it; whichever thread takes the next task asks it `is_finished` meanwhile.
    """

    def __init__(self, numbering: Numbering, *, allow_nonfinite: bool) -> None:
        self._numbering, self._allow = numbering, allow_nonfinite
        tensors = range(len(numbering.cuts))
        self._finished = bytearray(numbering.count)  # by piece: asked for twice for each, of which there are millions
        self._digests: list[dict[int, bytes]] = [{} for _ in tensors]
        self._counts = [Counts() for _ in tensors]
        self._squares: list[Squares | None] = [None for _ in tensors]
        self._results: dict[int, TensorResult] = {}

    @property
    def results(self) -> tuple[TensorResult, ...]:
        """The finished tensors, in file order."""
        return tuple(self._results[tensor] for tensor in sorted(self._results))

    @property
    def unfinished(self) -> int:
        """How many tensors are not."""
        return len(self._digests) - len(self._results)

    def is_finished(self, number: int) -> bool:
        """Whether the piece is."""
        return bool(self._finished[number])

    def finish(self, piece: Finished, squares: Squares | None = None) -> None:
        """Notes a finished piece.

        NonFiniteError if it was its tensor's last, and the tensor has weights that are not finite (unless allowed) or
        that overflowed.
        """
        tensor, nth = self._numbering.place(piece.number)
        self._finished[piece.number] = True
        self._digests[tensor][nth] = piece.digest
        if any(piece.counts):
            self._counts[tensor] = self._counts[tensor].plus(piece.counts)
        if squares:
            self._squares[tensor] = squares.plus(self._squares[tensor] or Squares())
        if len(self._digests[tensor]) == self._numbering.cuts[tensor].count:
            self._finish_tensor(tensor)

    def _finish_tensor(self, tensor: int) -> None:
        planned, counts = self._numbering.file.tensors[tensor], self._counts[tensor]
        digests = self._digests[tensor]
        joined = b"".join(digests[nth] for nth in range(len(digests)))
        name, type = planned.info.name, planned.info.type.name
        digest = xxhash.xxh3_128_hexdigest(joined)
        self._results[tensor] = TensorResult(name, type, digest, counts, self._squares[tensor])
        self._digests[tensor] = {}
        self._check(planned, counts)

    def _check(self, planned: PlannedTensor, counts: Counts) -> None:
        where, type = f"tensor {planned.info.name}", planned.info.type
        if counts.overflow:
            found = f"{counts.overflow} finite weights are too large for {type.name}"
            wider = '`type="f32"`' if type.name == "BF16" else '`type="bf16"` or `type="f32"`'
            raise NonFiniteError(where, found, f"choose {wider}")
        if not counts.nan and not counts.inf:
            return
        found = f"{counts.nan} weights are NaN and {counts.inf} infinite"
        if type not in PLAIN and planned.plain_type is type:
            found = f"{counts.nan} blocks of {type.name} have a scale that is NaN or infinite"
        elif type not in PLAIN:
            raise NonFiniteError(where, f"{found}, which {type.name} cannot hold", 'choose `type="bf16"`')
        if not self._allow:
            advice = "the source is damaged; `allow_nonfinite=True` converts it as it is"
            raise NonFiniteError(where, found, advice)
