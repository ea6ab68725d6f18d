"""Verification of a file or a split set: structure, stored hashes, and everything against the source."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deepgguf.errors import UsageError, printable
from deepgguf.executors.executor import Cluster, Executor, Progress
from deepgguf.files.probe import Probe, SeenFile, refuse_unreadable
from deepgguf.formats.gguf.split_set import read_split_set
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.formats.manifest import manifest_path
from deepgguf.verification.expected import Expected
from deepgguf.verification.file_bytes import CheckedFile, FileBytes
from deepgguf.verification.hashes import check_hashes, header_differences, padding_differences, whole_sha256
from deepgguf.verification.report import Difference, Verification, VerifiedFile
from deepgguf.verification.split_sets import set_differences
from deepgguf.verification.stored_hashes import read_stored_hashes
from deepgguf.verification.with_source import check_source


def check(
    headers: Sequence[GGUFHeader], expected: Expected | None, executor: Executor, *, sha256: bool = False,
    progress: Progress = lambda nbytes: None,
) -> Verification:  # fmt: skip
    """What is wrong with a GGUF file, or with a split set, whose headers have been read.

    Always what the conversion stored beside it; with what is `expected` by its source, every tensor and key too.
    `progress` is told of bytes.

    Raises CheckpointError for a source that cannot be read, OutputError if the executor leaves work undone, or a node
    of a cluster does not see the file or the source, UsageError for other workers that see no files of this machine.
    """
    began = time.monotonic()
    _must_see(executor, headers, expected)
    files = checked_files(headers)
    checked, differences = (None, []) if expected is None else check_source(files, expected, executor, progress)
    named = {difference.where.split(",")[0] for difference in differences}
    differences += [d for file in files for d in (*padding_differences(file), *header_differences(file))]
    differences += set_differences(files)
    found_hashes, hashed = check_hashes(files, executor, progress)
    digests = [whole_sha256(header.path) if sha256 else "" for header in headers]
    differences += [d for d in found_hashes if d.where not in named]  # the source says more: which row
    differences += _sha256_differences(files, digests)
    verified = [_verified(file, hashed[number], digests[number]) for number, file in enumerate(files)]
    return Verification(tuple(verified), checked, tuple(differences), time.monotonic() - began)


def _must_see(executor: Executor, headers: Sequence[GGUFHeader], expected: Expected | None) -> None:
    if isinstance(executor, Cluster):
        look = _Look((*(SeenFile.at(header.path) for header in headers), *_sources(expected)))
        refuse_unreadable(executor.everywhere(look.unreadable))
    elif not executor.shares_files:
        found = "verify reads the file where the workers are, and these do not see this machine's files"
        raise UsageError("`executor`", found, "use threads, or verify on the machine that has the file")


def _sources(expected: Expected | None) -> tuple[Probe, ...]:
    if expected is None:
        return ()
    importance, source = expected.importance_file, expected.source
    found = Probe(source.files, source.numbered)
    return (found, Probe(importance.files, (importance.file,))) if importance else (found,)


class _Look(NamedTuple):
    """What a node must see."""

    probes: tuple[Probe | SeenFile, ...]

    def unreadable(self) -> str:
        """Why something of it cannot be read; "" if all can."""
        return next(filter(None, (probe.unreadable() for probe in self.probes)), "")


def checked_files(headers: Sequence[GGUFHeader]) -> list[CheckedFile]:
    """The files with what is stored beside them; VerificationError if that is not what it should be."""
    return [CheckedFile(h, FileBytes(h.path), read_stored_hashes(manifest_path(h.path))) for h in headers]


def _verified(file: CheckedFile, hashed: int, sha256: str) -> VerifiedFile:
    header, manifest = file.header, str(manifest_path(file.header.path)) if file.stored else ""
    path, tensors, keys = Path(header.path), len(header.tensors), len(header.keys)
    return VerifiedFile(path, header.file_size, tensors, keys, manifest, hashed, sha256)


def bytes_to_check(path: str | Path, times: int) -> int:
    """What progress will be told of in all, about: the files' data, `times` times and once for their stored hashes."""
    return sum(
        tensor.nbytes * (times + manifest_path(header.path).is_file())
        for header in read_split_set(path)
        for tensor in header.tensors
    )


def _sha256_differences(files: Sequence[CheckedFile], digests: Sequence[str]) -> list[Difference]:
    return [
        Difference(f"file {printable(file.header.path)}", "SHA-256 of the whole file", file.stored.sha256, digest)
        for file, digest in zip(files, digests, strict=True)
        if file.stored and digest and file.stored.sha256 and file.stored.sha256 != digest
    ]
