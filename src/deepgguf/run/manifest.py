"""FILE.gguf.json: the hashes of a finished file, by which `verify` finds a changed bit without the source."""

import msgspec

from deepgguf.files.files import FileFacts
from deepgguf.planning.numbering import Numbering, Place
from deepgguf.planning.schema import Plan
from deepgguf.run.file_run import FileJob
from deepgguf.run.result import FileReport
from deepgguf.version import __version__

SCHEMA = 2


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
    sources: tuple[FileFacts, ...]
    tensors: tuple[ManifestTensor, ...]
    piece_weights: int
    sha256: str = ""
    schema: int = SCHEMA


def make_manifest(plan: Plan, job: FileJob, header_digest: str, report: FileReport) -> Manifest:
    """The manifest of a file whose tensors are all finished."""
    numbering, file = job.numbering, job.file
    digests = {result.name: result.digest for result in report.tensors}
    return Manifest(
        file=file.name,
        size=file.size,
        data_offset=file.data_offset,
        header_digest=header_digest,
        plan=job.header.plan,
        version=__version__,
        target=plan.target,
        type=plan.type,
        source=plan.name,
        sources=plan.sources,
        tensors=tuple(_tensor(numbering, n, digests[tensor.info.name]) for n, tensor in enumerate(file.tensors)),
        piece_weights=plan.piece_weights,
        sha256=report.sha256,
    )


def _tensor(numbering: Numbering, tensor: int, digest: str) -> ManifestTensor:
    info = numbering.file.tensors[tensor].info
    places = (Place(tensor, nth) for nth in range(numbering.cuts[tensor].per_source))
    lengths = tuple(numbering.piece(place).nbytes for place in places)
    return ManifestTensor(info.name, info.type.name, info.offset, info.nbytes, digest, lengths)
