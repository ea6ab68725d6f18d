"""The errors that types would make of a tensor, measured on a few of its rows."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from deepgguf.checkpoint.importance import ImportanceFile, TensorImportance
from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Encoding, Floats, Stored
from deepgguf.encodings.plain import Plain
from deepgguf.encodings.quantized import Quantized
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType, row_bytes
from deepgguf.planning.pieces import Piece
from deepgguf.planning.schema import OutputTensor, Plan, PlannedTensor
from deepgguf.planning.windows import Share
from deepgguf.run.piece import weights_of
from deepgguf.tensors.view import View

SAMPLE_WEIGHTS = 1 << 15
"""Weights of a tensor that are measured: 4 rows of 7,168, each of another expert where there are many."""

_SPOTS = 16  # where rows are short, some lie together


class Sampling(msgspec.Struct, frozen=True):
    """A tensor, as it is quantized by importance, and the types to measure."""

    tensor: PlannedTensor
    types: tuple[GGMLType, ...]


class SampledErrors(msgspec.Struct, frozen=True):
    """What each type loses of a tensor, in the order asked for.

    It is Σ importance × error² over Σ importance × weight²: noise to signal in what the tensor's rows add up to. It is
    infinite for a type that cannot hold the weights. `energy` is the latter sum, as it is likely to be over all rows.
    """

    name: str
    errors: tuple[float, ...]
    energy: float


class _Rows(NamedTuple):
    """Rows of one matrix: float32 [n], of `length` each; and the form of their source.

    `given` is the importance of their columns as a conversion has it, `filled` with the mean of other experts where
    there are no data.
    """

    floats: Floats
    length: int
    source: Encoding
    given: Floats | None
    filled: Floats | None


class ErrorSampler:
    """Measures tensors of `plan`; it can be pickled, and opens its files where it is used."""

    def __init__(self, plan: Plan, sample_weights: int = SAMPLE_WEIGHTS) -> None:
        """Of every tensor about `sample_weights` weights are measured."""
        self._files, self._sources, self._importance = plan.source, plan.sources, plan.importance
        self._sample_weights = sample_weights
        self._buffers = Buffers()

    def measure(self, sampling: Sampling) -> Iterator[SampledErrors]:
        """The errors of one tensor's types."""
        lost, energy, count, tensor = np.zeros(len(sampling.types)), 0.0, 0, sampling.tensor
        encodings = [encoding_of(type) for type in sampling.types]
        for rows in self._rows(tensor):
            energy += _energy(rows.floats, rows)
            count += rows.floats.size
            lost += [self._lost(rows, one, tensor.output) for one in encodings]
        with np.errstate(invalid="ignore", divide="ignore"):
            errors = np.where(lost > 0, lost / energy, lost)
        finite = np.nan_to_num(errors, nan=np.inf, posinf=np.inf)
        yield SampledErrors(tensor.info.name, tuple(finite.tolist()), energy * tensor.weights / count)

    def _rows(self, tensor: PlannedTensor) -> Iterator[_Rows]:
        """Rows from all over the tensor, at equal distances; of transposed heads whole ones."""
        view, read, entry = tensor.view, self._files.by_number(self._sources), tensor.importance
        columns = _Columns(self._importance, entry), _Columns(self._importance, entry.filled() if entry else None)
        run = view.taken if view.transposed else _run(view, self._sample_weights)
        runs = -(-view.taken // run)
        spots = len(tensor.sources) * view.groups * runs
        for spot in _spread(spots, max(1, self._sample_weights // (run * view.cols))):
            matrix, nth = divmod(spot, runs)
            source, group = divmod(matrix, view.groups)
            rows = min(run, view.taken - nth * run)
            share = Share(0, 0, 0, tensor.output, tensor.sources[source], ())
            floats = weights_of(share, Piece(source, group, 1, nth * run, rows, 0, 0), read, self._buffers)
            yield _Rows(floats, view.row_length, share.source.encoding, *(of.matrix(matrix) for of in columns))

    def _lost(self, rows: _Rows, encoding: Plain | Quantized, output: OutputTensor) -> float:
        """Σ importance × error² of the rows, quantized as a conversion would."""
        packs = encoding.repacks(rows.source, exact=output.exact) and not output.view.transposed
        if isinstance(encoding, Plain) or packs:
            return 0.0
        count = rows.floats.size // rows.length
        importance = rows.filled if encoding.needs_importance else rows.given
        out = self._buffers.take("out", count * row_bytes(encoding.type, rows.length))
        encoding.encode(rows.floats, rows.length, importance if encoding.takes_importance else None, out)
        stored = Stored("sample", 0, count, rows.length, (out,))
        with np.errstate(invalid="ignore", over="ignore"):
            return _energy(encoding.values(stored, self._buffers).reshape(-1) - rows.floats, rows)


class _Columns:
    """The importance of the columns of a tensor's matrices, read once for each."""

    def __init__(self, file: ImportanceFile | None, entry: TensorImportance | None) -> None:
        self._file, self._entry = file, entry
        self._known: dict[int, Floats] = {}

    def matrix(self, number: int) -> Floats | None:
        """Those of matrix `number`; None without an entry."""
        if self._entry is None or self._file is None:
            return None
        run = self._entry.runs[number]
        if run not in self._known:
            self._known[run] = self._file.columns(self._entry, number)
        return self._known[run]


def _run(view: View, sample_weights: int) -> int:
    """How many rows are taken at a spot, so that there are _SPOTS of them."""
    return min(view.taken, max(1, sample_weights // (_SPOTS * view.cols)))


def _spread(count: int, most: int) -> Sequence[int]:
    """At most `most` of the numbers below `count`, at equal distances."""
    taken = min(count, most)
    return [(2 * i + 1) * count // (2 * taken) for i in range(taken)]


def _energy(floats: Floats, rows: _Rows) -> float:
    """Σ importance × value² over values of the rows, in double precision."""
    with np.errstate(invalid="ignore", over="ignore"):
        squares = np.square(floats.reshape(-1, rows.length), dtype=np.float64).sum(axis=0)
        return float(squares.sum() if rows.filled is None else squares @ rows.filled)
