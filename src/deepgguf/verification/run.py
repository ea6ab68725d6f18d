"""Verification of a file or a split set: structure, stored hashes, and everything against the source."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from deepgguf.encodings import PLAIN
from deepgguf.errors import printable
from deepgguf.executors.executor import Executor
from deepgguf.files.files import Files
from deepgguf.formats.gguf.split_set import read_split_set
from deepgguf.verification.file_bytes import FileBytes, OpenFile, manifest_path
from deepgguf.verification.hashes import (
    Hasher,
    HashTask,
    header_differences,
    padding_differences,
    whole_sha256,
)
from deepgguf.verification.report import Difference, Verification, VerifiedFile
from deepgguf.verification.stored_hashes import read_stored_hashes
from deepgguf.verification.with_source import check_source

Progress = Callable[[int], None]


def check(
    path: str | Path, source: Files | None, executor: Executor, *, sha256: bool = False,
    progress: Progress = lambda nbytes: None,
) -> Verification:  # fmt: skip
    """What is wrong with the GGUF file `path`, or the split set that it belongs to.

    Without `source`: what the conversion stored beside the file. With it: every tensor and key against the checkpoint;
    then hashes are compared only where a type has a bound instead of exact values. `progress` is told of bytes.

    Raises GGUFError for a file that is not a sound GGUF, CheckpointError for a source that cannot be read.
    """
    began = time.monotonic()
    headers = read_split_set(path)
    with ExitStack() as stack:
        opened = [
            OpenFile(h, stack.enter_context(FileBytes(h.path)), read_stored_hashes(manifest_path(h.path)))
            for h in headers
        ]
        differences = [d for file in opened for d in (*padding_differences(file), *header_differences(file))]
        tasks = _hash_tasks(opened, every=source is None)
        differences += _check_hashes(opened, tasks, executor, progress)
        digests = [whole_sha256(header.path) if sha256 else "" for header in headers]
        differences += _sha256_differences(opened, digests)
        checked = None
        if source is not None:
            checked, found = check_source(opened, source, executor, progress)
            differences += found
    hashed = Counter(task.file for task in tasks)
    verified = [_verified(file, hashed[number], digests[number]) for number, file in enumerate(opened)]
    return Verification(tuple(verified), checked, tuple(differences), time.monotonic() - began)


def _verified(file: OpenFile, hashed: int, sha256: str) -> VerifiedFile:
    header, manifest = file.header, str(manifest_path(file.header.path)) if file.stored else ""
    path, tensors, keys = Path(header.path), len(header.tensors), len(header.keys)
    return VerifiedFile(path, header.file_size, tensors, keys, manifest, hashed, sha256)


def bytes_to_check(path: str | Path, *, with_source: bool) -> int:
    """What `check` will tell its progress of in all, about: the files' data, quantized tensors twice with a source."""
    total = 0
    for header in read_split_set(path):
        has_hashes = manifest_path(header.path).is_file()
        for tensor in header.tensors:
            times = int(with_source) + int(has_hashes and not (with_source and tensor.type in PLAIN))
            total += tensor.nbytes * times
    return total


def _hash_tasks(opened: Sequence[OpenFile], *, every: bool) -> list[HashTask]:
    """The tensors whose digests are compared: those with a stored one, all of them or the quantized ones."""
    return [
        HashTask(number, index, stored[tensor.name])
        for number, file in enumerate(opened)
        for stored in [{t.name: t for t in file.stored.tensors} if file.stored else {}]
        for index, tensor in enumerate(file.header.tensors)
        if tensor.name in stored and stored[tensor.name].nbytes == tensor.nbytes and (every or tensor.type not in PLAIN)
    ]


def _check_hashes(
    opened: Sequence[OpenFile], tasks: Sequence[HashTask], executor: Executor, progress: Progress
) -> list[Difference]:
    found: dict[tuple[int, int], Difference] = {}
    with closing(executor.map(Hasher(opened).hash, tasks)) as results:
        for hashed in results:
            progress(hashed.nbytes)
            if hashed.difference:
                found[hashed.file, hashed.tensor] = hashed.difference
    return [found[place] for place in sorted(found)]


def _sha256_differences(opened: Sequence[OpenFile], digests: Sequence[str]) -> list[Difference]:
    return [
        Difference(f"file {printable(file.header.path)}", "SHA-256 of the whole file", file.stored.sha256, digest)
        for file, digest in zip(opened, digests, strict=True)
        if file.stored and digest and file.stored.sha256 and file.stored.sha256 != digest
    ]
