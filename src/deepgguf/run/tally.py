"""What has been finished of a file: digests of tensors from those of their pieces, and counts of odd numbers."""

import threading
from bisect import bisect_right
from itertools import accumulate

import msgspec
import xxhash

from deepgguf.errors import NonFiniteError
from deepgguf.formats.gguf.types import PLAIN, GGMLType
from deepgguf.planning.pieces import Cut, cut
from deepgguf.planning.schema import PlannedFile
from deepgguf.run.journal import Finished
from deepgguf.run.piece import Counts


class TensorResult(msgspec.Struct, frozen=True):
    """A finished tensor: XXH3-128 over its pieces' digests in order, and its counts."""

    name: str
    digest: str
    counts: Counts


class Tally:
    """The progress of one file. Pieces are numbered through the file; they may finish in any order, in any thread."""

    def __init__(self, file: PlannedFile, block_rows: int, *, allow_nonfinite: bool) -> None:
        self._file, self._allow = file, allow_nonfinite
        self.cuts: tuple[Cut, ...] = tuple(cut(tensor, block_rows) for tensor in file.tensors)
        self._starts = [0, *accumulate(c.count for c in self.cuts)]
        self._left = [c.count for c in self.cuts]
        self._digests: list[dict[int, bytes]] = [{} for _ in self.cuts]
        self._counts = [Counts() for _ in self.cuts]
        self.results: dict[int, TensorResult] = {}
        self._lock = threading.Lock()

    @property
    def pieces(self) -> int:
        """Number of pieces of the file."""
        return self._starts[-1]

    def locate(self, number: int) -> tuple[int, int]:
        """The tensor that piece `number` belongs to, and its number there."""
        tensor = bisect_right(self._starts, number) - 1
        return tensor, number - self._starts[tensor]

    def finish(self, piece: Finished) -> None:
        """Notes a finished piece.

        NonFiniteError if it was its tensor's last, and the tensor has weights that are not finite (unless allowed) or
        that overflowed.
        """
        tensor, index = self.locate(piece.number)
        with self._lock:
            self._digests[tensor][index] = piece.digest
            self._counts[tensor] = self._counts[tensor].plus(piece.counts)
            self._left[tensor] -= 1
            if self._left[tensor]:
                return
            digests, self._digests[tensor] = self._digests[tensor], {}
        joined = b"".join(digests[i] for i in range(len(digests)))
        planned, counts = self._file.tensors[tensor], self._counts[tensor]
        self.results[tensor] = TensorResult(planned.info.name, xxhash.xxh3_128_hexdigest(joined), counts)
        self._check(planned.info.name, planned.info.type, counts)

    def _check(self, name: str, type: GGMLType, counts: Counts) -> None:
        if counts.overflow:
            found = f"{counts.overflow} finite weights are too large for {type.name}"
            wider = '`type="f32"`' if type is GGMLType.BF16 else '`type="bf16"` or `type="f32"`'
            raise NonFiniteError(f"tensor {name}", found, f"choose {wider}")
        if not counts.nan and not counts.inf:
            return
        found = f"{counts.nan} weights are NaN and {counts.inf} infinite"
        if type not in PLAIN:
            raise NonFiniteError(f"tensor {name}", f"{found}, which {type.name} cannot hold", 'choose `type="bf16"`')
        if not self._allow:
            advice = "the checkpoint is damaged; `allow_nonfinite=True` converts it as it is"
            raise NonFiniteError(f"tensor {name}", found, advice)
