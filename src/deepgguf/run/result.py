"""What a worker reports of a piece, and what is known of a finished tensor, file and run. Plain data, all of it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from deepgguf.encodings.encoding import Counts, Squares
from deepgguf.files.traffic import Traffic
from deepgguf.run.address import Place


class Result(msgspec.Struct, frozen=True, gc=False):
    """A piece that has been made: number `number` of the plan's file number `file`.

    `digest` is the XXH3-128 of its `nbytes` bytes. `squares` is there if errors are measured and the piece was
    quantized, `data` only if the worker could not write the bytes to their place at byte `offset` of the file itself.
    `node` is where in a cluster it was made; `parts` are what the worker has settled of the file up to this piece
    (`FarWriter.settle`).
    """

    file: int
    number: int
    offset: int
    nbytes: int
    digest: bytes
    counts: Counts
    squares: Squares | None = None
    data: bytes | None = None
    node: str = ""
    parts: Mapping[int, str] | None = None


class TensorResult(msgspec.Struct, frozen=True):
    """A finished tensor: XXH3-128 over its pieces' digests in order, its counts, its error if that was measured."""

    name: str
    type: str
    digest: str
    counts: Counts
    squares: Squares | None = None

    @property
    def relative_rms(self) -> float:
        """The root mean square of the errors over that of the weights; 0 if that was not measured."""
        return self.squares.relative_rms if self.squares else 0.0


class FileReport(msgspec.Struct, frozen=True):
    """A finished file: its path or address, its tensors in file order, its SHA-256 if asked for.

    `found`: it was there before; then its manifest says the rest.
    `nodes` says how many of its pieces each node of a cluster has made; empty without one, and for resumed pieces.
    """

    path: Place
    size: int
    tensors: tuple[TensorResult, ...]
    sha256: str = ""
    found: bool = False
    nodes: Mapping[str, int] = {}


class Report(msgspec.Struct, frozen=True):
    """What a run did: files, seconds, bytes written by it and bytes found from an interrupted one.

    `recipe` is the recipe file beside them, if a budget chose their types. `traffic` is what was read over a network,
    the plan's part too. `again` says why tasks of a cluster were carried out again, and how often; `came_back` why its
    workers sent bytes back instead of writing them, "" if they wrote them.
    """

    files: tuple[FileReport, ...]
    seconds: float
    written: int
    resumed: int
    recipe: Path | None = None
    traffic: Traffic | None = None
    again: Mapping[str, int] = {}
    came_back: str = ""

    @property
    def nodes(self) -> dict[str, int]:
        """How many pieces each node of a cluster has made."""
        return dict(sorted(sum((Counter(file.nodes) for file in self.files), Counter[str]()).items()))

    @property
    def counts(self) -> Counts:
        """NaN, Inf and overflow over all tensors."""
        total = Counts()
        for file in self.files:
            for result in file.tensors:
                total = total.plus(result.counts)
        return total

    @property
    def largest_errors(self) -> dict[str, TensorResult]:
        """For each quantized type the tensor with the largest relative error; empty if errors were not measured."""
        largest: dict[str, TensorResult] = {}
        for tensor in (tensor for file in self.files for tensor in file.tensors if tensor.squares):
            so_far = largest.get(tensor.type)
            if so_far is None or tensor.relative_rms > so_far.relative_rms:
                largest[tensor.type] = tensor
        return dict(sorted(largest.items()))
