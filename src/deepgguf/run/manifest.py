"""FILE.gguf.json: the hashes of a finished file, by which `verify` finds a changed bit without the source."""

from collections.abc import Mapping

import msgspec

from deepgguf.planning.pieces import cut, piece_at
from deepgguf.planning.schema import Plan, PlannedFile, PlannedTensor
from deepgguf.run.tally import TensorResult
from deepgguf.version import __version__

SCHEMA = 1


class ManifestTensor(msgspec.Struct, frozen=True):
    """A tensor's place and digest: XXH3-128 over the XXH3-128 of its pieces.

    `pieces` has their lengths in bytes, for a run of parts that repeats through the tensor: one expert's.
    """

    name: str
    type: str
    offset: int
    nbytes: int
    digest: str
    pieces: tuple[int, ...]


class ManifestSource(msgspec.Struct, frozen=True):
    """A source file as it was: size in bytes, time of change in nanoseconds."""

    name: str
    size: int
    mtime_ns: int


class Manifest(msgspec.Struct, frozen=True):
    """What is known of a finished file. `header_digest` is the XXH3-128 of all bytes before the data."""

    file: str
    size: int
    data_offset: int
    header_digest: str
    plan: str
    version: str
    target: str
    type: str
    source: str
    sources: tuple[ManifestSource, ...]
    tensors: tuple[ManifestTensor, ...]
    piece_weights: int
    sha256: str = ""
    schema: int = SCHEMA


def make_manifest(
    plan: Plan,
    file: PlannedFile,
    identity: str,
    header_digest: str,
    results: Mapping[int, TensorResult],
    sha256: str,
) -> Manifest:
    """The manifest of a file whose tensors are all finished."""
    return Manifest(
        file=file.name,
        size=file.size,
        data_offset=file.data_offset,
        header_digest=header_digest,
        plan=identity,
        version=__version__,
        target=plan.target,
        type=plan.type,
        source=plan.name,
        sources=tuple(ManifestSource(s.name, s.size, s.mtime_ns) for s in plan.sources),
        tensors=tuple(_tensor(tensor, results[i], plan) for i, tensor in enumerate(file.tensors)),
        piece_weights=plan.piece_weights,
        sha256=sha256,
    )


def _tensor(tensor: PlannedTensor, result: TensorResult, plan: Plan) -> ManifestTensor:
    info, how = tensor.info, cut(tensor, plan.piece_weights)
    lengths = tuple(piece_at(tensor, how, i).nbytes for i in range(how.per_part))
    return ManifestTensor(info.name, info.type.name, info.offset, info.nbytes, result.digest, lengths)
