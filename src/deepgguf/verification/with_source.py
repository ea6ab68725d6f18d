"""A file or split set against the checkpoint that it was made from."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deepgguf.checkpoint.checkpoint import read_checkpoint
from deepgguf.encodings import PLAIN
from deepgguf.executors.threads import Buffers, run_in_threads
from deepgguf.files.files import ReadByNumber
from deepgguf.files.find import find_files
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.models.family import AnyFamily
from deepgguf.verification.compare_keys import key_differences
from deepgguf.verification.compare_slices import compare_slice
from deepgguf.verification.counterparts import Counterparts, find_counterparts, read_source
from deepgguf.verification.file_bytes import FileBytes
from deepgguf.verification.mismatches import Mismatches
from deepgguf.verification.report import Difference, SourceCheck
from deepgguf.verification.slices import Slice, slices

Progress = Callable[[int], None]


def check_source(
    headers: Sequence[GGUFHeader], files: Sequence[FileBytes], path: Path, *, jobs: int, progress: Progress
) -> tuple[SourceCheck, list[Difference]]:
    """Compares tensors and keys. CheckpointError if the checkpoint in `path` is at fault itself."""
    source = read_source(read_checkpoint(find_files(path)))
    checkpoint = source.checkpoint
    found = find_counterparts(headers, source)
    if found is None:
        return SourceCheck(checkpoint.name, 0, 0, 0, {}), [_another_model(headers[0], source.family)]
    differences = [*key_differences(headers, source, found), *found.differences]
    with checkpoint.files as sources:
        read = sources.by_number(checkpoint.shards.files)
        differences += _check_weights(headers, files, read, found, jobs, progress)
        sources.check_unchanged(checkpoint.shards.files)
    exact = sum(pair.tensor.type in PLAIN for pair in found.pairs)
    keys = sum(len(header.keys) for header in headers)
    return SourceCheck(checkpoint.name, exact, len(found.pairs) - exact, keys, source.dropped), differences


def _another_model(header: GGUFHeader, family: AnyFamily) -> Difference:
    value = header.keys.get("general.architecture")
    known = {file.architecture for target in family.targets.values() for file in target.files.values()}
    text, expected = f"the source is a {family.name}", " or ".join(sorted(known))
    return Difference("key general.architecture", text, expected, repr(value.value) if value else "no such key")


def _check_weights(
    headers: Sequence[GGUFHeader], files: Sequence[FileBytes], read: ReadByNumber, found: Counterparts,
    jobs: int, progress: Progress,
) -> list[Difference]:  # fmt: skip
    mismatches = [Mismatches(pair) for pair in found.pairs]
    weighted = any(key.startswith("quantize.imatrix.") for key in headers[0].keys)

    def tasks() -> Iterator[tuple[int, Slice]]:
        for number, pair in enumerate(found.pairs):
            for piece in slices(pair):
                yield number, piece

    def work(task: tuple[int, Slice], buffers: Buffers) -> None:
        number, piece = task
        pair = found.pairs[number]
        data = buffers.take("file", piece.nbytes)
        start = headers[pair.file].data_offset + pair.tensor.offset
        files[pair.file].readinto(start + piece.offset, data)
        wrong, squares = compare_slice(pair, piece, data, read, weighted, buffers)
        if wrong or squares:
            mismatches[number].add(piece.part, wrong, squares)
        progress(piece.nbytes)

    run_in_threads(jobs, tasks(), work)
    return [difference for one in mismatches for difference in one.differences()]
