"""A file or split set against the checkpoint that it was made from."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import msgspec

from deepgguf.checkpoint.checkpoint import read_checkpoint
from deepgguf.encodings import PLAIN
from deepgguf.executors.buffers import Buffers
from deepgguf.executors.executor import Executor
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.models.family import AnyFamily
from deepgguf.verification.compare_keys import key_differences
from deepgguf.verification.compare_slices import Comparison, compare_slice
from deepgguf.verification.counterparts import Counterpart, Counterparts, find_counterparts, read_source
from deepgguf.verification.file_bytes import OpenFile
from deepgguf.verification.mismatches import Mismatches, Outcome
from deepgguf.verification.report import Difference, SourceCheck
from deepgguf.verification.slices import Slice, slices

Progress = Callable[[int], None]


def check_source(
    opened: Sequence[OpenFile], files: Files, executor: Executor, progress: Progress
) -> tuple[SourceCheck, list[Difference]]:
    """Compares tensors and keys. CheckpointError if the checkpoint in `files` is at fault itself."""
    source = read_source(read_checkpoint(files, executor))
    checkpoint, headers = source.checkpoint, [file.header for file in opened]
    found = find_counterparts(headers, source)
    if found is None:
        return SourceCheck(checkpoint.name, 0, 0, 0, {}), [_another_model(headers[0], source.family)]
    differences = [*key_differences(headers, source, found), *found.differences]
    with files:
        comparer = _Comparer(opened, files, checkpoint.shards.files, found.pairs)
        differences += _check_weights(comparer, found, executor, progress)
        files.check_unchanged(checkpoint.shards.files)
    exact = sum(pair.tensor.type in PLAIN for pair in found.pairs)
    keys = sum(len(header.keys) for header in headers)
    return SourceCheck(checkpoint.name, exact, len(found.pairs) - exact, keys, source.dropped), differences


def _another_model(header: GGUFHeader, family: AnyFamily) -> Difference:
    value = header.keys.get("general.architecture")
    known = {file.architecture for target in family.targets.values() for file in target.files.values()}
    text, expected = f"the source is a {family.name}", " or ".join(sorted(known))
    return Difference("key general.architecture", text, expected, repr(value.value) if value else "no such key")


def _check_weights(
    comparer: "_Comparer", found: Counterparts, executor: Executor, progress: Progress
) -> list[Difference]:
    mismatches = [Mismatches(pair) for pair in found.pairs]
    tasks = (_Task(number, piece) for number, pair in enumerate(found.pairs) for piece in slices(pair))
    with closing(executor.map(comparer.compare, tasks)) as outcomes:
        for outcome in outcomes:
            mismatches[outcome.pair].add(outcome)
            progress(outcome.nbytes)
    return [difference for one in mismatches for difference in one.differences()]


class _Task(msgspec.Struct, frozen=True, gc=False):
    """A slice of the pair number `pair`."""

    pair: int
    slice: Slice


class _Comparer:
    """What comparing any slice takes; it can be pickled."""

    def __init__(
        self, opened: Sequence[OpenFile], files: Files, sources: Sequence[FileFacts], pairs: Sequence[Counterpart]
    ) -> None:
        self._opened, self._pairs = tuple(opened), tuple(pairs)
        self._files, self._sources = files, tuple(sources)
        self._weighted = any(key.startswith("quantize.imatrix.") for key in opened[0].header.keys)
        self._buffers = Buffers()

    def compare(self, task: _Task) -> Iterator[Outcome]:
        """One slice against its source."""
        pair, piece = self._pairs[task.pair], task.slice
        opened = self._opened[pair.file]
        data = self._buffers.take("file", piece.nbytes)
        opened.data.readinto(opened.header.data_offset + pair.tensor.offset + piece.offset, data)
        comparison = Comparison(self._files.by_number(self._sources), self._buffers, self._weighted)
        wrong, squares = compare_slice(pair, piece, data, comparison)
        yield Outcome(task.pair, piece.source, piece.nbytes, wrong, squares)
