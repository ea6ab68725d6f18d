"""What a report shows, as data. It stands in the page too, as JSON, so that two reports can be compared."""

from typing import Literal

import msgspec

from deepgguf.files.files import FileFacts
from deepgguf.planning.schema import Dropped

SCHEMA = 1

Kind = Literal["plan", "conversion", "file", "verification"]


class TensorFacts(msgspec.Struct, frozen=True, array_like=True):
    """A tensor: `stored` is its form in the source, "" if that is not known; `error` its relative RMS error, if that
    was measured; `note` why it has another type than its recipe's.
    """

    name: str
    stored: str
    type: str
    weights: int
    nbytes: int
    error: float | None = None
    note: str = ""


class OutputFacts(msgspec.Struct, frozen=True):
    """A GGUF file: bytes of all of it and of its tensors, their number and weights, its SHA-256 if that is known."""

    name: str
    size: int
    nbytes: int
    tensors: int
    weights: int
    sha256: str = ""


class ReportFacts(msgspec.Struct, frozen=True):
    """All of it. `outcome` is what was done or found, in one line; `differences` are those that `verify` found.

    `provenance` and `keys` are names with what they stand for.
    """

    kind: Kind
    title: str
    architecture: str
    target: str
    type: str
    files: tuple[OutputFacts, ...]
    tensors: tuple[TensorFacts, ...]
    dropped: tuple[Dropped, ...] = ()
    warnings: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    outcome: str = ""
    provenance: tuple[tuple[str, str], ...] = ()
    sources: tuple[FileFacts, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    schema: int = SCHEMA

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def weights(self) -> int:
        """Weights of all tensors."""
        return sum(tensor.weights for tensor in self.tensors)

    @property
    def worst(self) -> tuple[TensorFacts, ...]:
        """The tensors whose error was measured, the largest error first."""
        measured = (tensor for tensor in self.tensors if tensor.error is not None)
        return tuple(sorted(measured, key=lambda tensor: (-(tensor.error or 0), tensor.name)))
