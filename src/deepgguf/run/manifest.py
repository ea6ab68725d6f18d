"""The manifest of a finished file."""

import os
from pathlib import Path

import msgspec

from deepgguf.formats.json_bytes import encode_json
from deepgguf.formats.manifest import Manifest, ManifestTensor
from deepgguf.planning.numbering import Numbering, Place
from deepgguf.planning.schema import Plan
from deepgguf.run.disk import Disk
from deepgguf.run.file_job import FileJob
from deepgguf.run.journal import JournalHeader
from deepgguf.run.paths import Paths
from deepgguf.run.result import FileReport, TensorResult
from deepgguf.run.torn import may_be_left_of

_BEGINNING = b'{\n "file":'


def write_manifest(disk: Disk, paths: Paths, manifest: Manifest) -> int:
    """Writes the manifest beside the part, and returns it open, so that it can be told from another file."""
    disk.remove(paths.manifest_part)
    fd = disk.create(paths.manifest_part)
    try:
        disk.write(fd, paths.manifest_part, memoryview(manifest_text(manifest)), 0)
        disk.sync(fd, paths.manifest_part)
    except BaseException:
        os.close(fd)
        raise
    return fd


def manifest_text(manifest: Manifest) -> bytes:
    """What is in the file."""
    return msgspec.json.format(encode_json(manifest), indent=1)


def may_be_begun(path: Path) -> bool:
    """Whether `path` may be a manifest that a run began to write, as far as its first bytes tell."""
    try:
        with path.open("rb") as file:
            return may_be_left_of(_BEGINNING, file.read(len(_BEGINNING)))
    except OSError:
        return False


def make_manifest(plan: Plan, job: FileJob, header_digest: str, report: FileReport) -> Manifest:
    """The manifest of a file whose tensors are all finished."""
    numbering, file = job.numbering, job.file
    results = {result.name: result for result in report.tensors}
    return Manifest(
        file=file.name,
        size=file.size,
        data_offset=file.data_offset,
        header_digest=header_digest,
        plan=job.header.plan,
        version=job.header.version,
        target=plan.target,
        type=plan.type,
        source=plan.name,
        sources=plan.sources,
        tensors=tuple(_tensor(numbering, n, results[tensor.info.name]) for n, tensor in enumerate(file.tensors)),
        piece_weights=plan.piece_weights,
        sha256=report.sha256,
        address=job.header.source,
    )


def is_of(manifest: Manifest, header: JournalHeader) -> bool:
    """Whether the manifest is one that a run whose journal has this `header` writes."""
    sources = tuple((source.name, source.version) for source in manifest.sources)
    return JournalHeader(manifest.plan, sources, manifest.version, source=manifest.address) == header


def vouches_for(manifest: Manifest, job: FileJob) -> bool:
    """Whether the manifest says that the file is complete, as this run would make it."""
    planned = [(tensor.info.name, tensor.info.type.name, tensor.info.offset) for tensor in job.file.tensors]
    return (
        manifest.file == job.file.name
        and is_of(manifest, job.header)
        and planned == [(tensor.name, tensor.type, tensor.offset) for tensor in manifest.tensors]
    )


def _tensor(numbering: Numbering, tensor: int, result: TensorResult) -> ManifestTensor:
    info = numbering.file.tensors[tensor].info
    places = (Place(tensor, nth) for nth in range(numbering.cuts[tensor].per_source))
    lengths = tuple(numbering.piece(place).nbytes for place in places)
    nan, inf, _ = result.counts
    return ManifestTensor(info.name, info.type.name, info.offset, info.nbytes, result.digest, lengths, nan, inf)
