"""Verification of a file or a split set: structure, stored hashes, and everything against the source."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from deepgguf.errors import printable
from deepgguf.executors.threads import Buffers, run_in_threads
from deepgguf.formats.gguf.split_set import read_split_set
from deepgguf.formats.gguf.types import PLAIN, GGUFHeader
from deepgguf.verification.file_bytes import FileBytes, manifest_path
from deepgguf.verification.hashes import header_differences, padding_differences, tensor_difference, whole_sha256
from deepgguf.verification.report import Difference, Verification, VerifiedFile
from deepgguf.verification.stored_hashes import StoredHashes, read_stored_hashes
from deepgguf.verification.with_source import check_source

Progress = Callable[[int], None]


def check(
    path: str | Path, source: Path | None, *, jobs: int, sha256: bool, progress: Progress = lambda nbytes: None
) -> Verification:
    """What is wrong with the GGUF file `path`, or the split set that it belongs to.

    Without `source`: what the conversion stored beside the file. With it: every tensor and key against the checkpoint;
    then hashes are compared only where a type has a bound instead of exact values. `progress` is told of bytes.

    Raises GGUFError for a file that is no sound GGUF, CheckpointError for a source that cannot be read.
    """
    began = time.monotonic()
    headers = read_split_set(path)
    with ExitStack() as stack:
        files = [stack.enter_context(FileBytes(header.path)) for header in headers]
        stored = [read_stored_hashes(manifest_path(header.path)) for header in headers]
        differences: list[Difference] = []
        for header, file, hashes in zip(headers, files, stored, strict=True):
            differences += padding_differences(header, file)
            differences += header_differences(header, hashes, file) if hashes else ()
        hashed = [_to_hash(header, hashes, source is None) for header, hashes in zip(headers, stored, strict=True)]
        differences += _check_hashes(headers, files, stored, hashed, jobs, progress)
        digests = [whole_sha256(header.path) if sha256 else "" for header in headers]
        differences += _sha256_differences(headers, stored, digests)
        checked = None
        if source is not None:
            checked, found = check_source(headers, files, source, jobs=jobs, progress=progress)
            differences += found
    verified = [
        VerifiedFile(
            Path(header.path), header.file_size, len(header.tensors), len(header.keys),
            str(manifest_path(header.path)) if hashes else "", len(names), digest,
        )
        for header, hashes, names, digest in zip(headers, stored, hashed, digests, strict=True)
    ]  # fmt: skip
    return Verification(tuple(verified), checked, tuple(differences), time.monotonic() - began)


def bytes_to_check(path: str | Path, *, with_source: bool) -> int:
    """What `check` will tell its progress of in all, about: the files' data, quantized tensors twice with a source."""
    total = 0
    for header in read_split_set(path):
        has_hashes = manifest_path(header.path).is_file()
        for tensor in header.tensors:
            times = int(with_source) + int(has_hashes and not (with_source and tensor.type in PLAIN))
            total += tensor.nbytes * times
    return total


def _to_hash(header: GGUFHeader, stored: StoredHashes | None, every: bool) -> frozenset[str]:
    """Names of the tensors whose digests are compared."""
    if stored is None:
        return frozenset()
    known = {tensor.name for tensor in stored.tensors}
    return frozenset(t.name for t in header.tensors if t.name in known and (every or t.type not in PLAIN))


def _check_hashes(
    headers: Sequence[GGUFHeader], files: Sequence[FileBytes], stored: Sequence[StoredHashes | None],
    hashed: Sequence[frozenset[str]], jobs: int, progress: Progress,
) -> list[Difference]:  # fmt: skip
    found: dict[tuple[int, int], Difference] = {}
    tasks = []
    for number, (header, file, hashes) in enumerate(zip(headers, files, stored, strict=True)):
        by_name = {tensor.name: tensor for tensor in hashes.tensors} if hashes else {}
        for index, tensor in enumerate(header.tensors):
            if tensor.name in hashed[number] and by_name[tensor.name].nbytes == tensor.nbytes:
                compare = partial(tensor_difference, header, tensor, by_name[tensor.name], file, progress=progress)
                tasks.append(((number, index), compare))

    def work(task: tuple[tuple[int, int], Callable[..., Difference | None]], buffers: Buffers) -> None:
        place, compare = task
        difference = compare(buffers=buffers)
        if difference:
            found[place] = difference

    run_in_threads(jobs, tasks, work)
    return [found[place] for place in sorted(found)]


def _sha256_differences(
    headers: Sequence[GGUFHeader], stored: Sequence[StoredHashes | None], digests: Sequence[str]
) -> list[Difference]:
    return [
        Difference(f"file {printable(header.path)}", "SHA-256 of the whole file", hashes.sha256, digest)
        for header, hashes, digest in zip(headers, stored, digests, strict=True)
        if hashes and digest and hashes.sha256 and hashes.sha256 != digest
    ]
