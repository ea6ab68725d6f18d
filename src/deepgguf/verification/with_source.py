"""A file or split set against the checkpoint that it was made from."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing

import msgspec

from deepgguf.checkpoint.checkpoint import read_checkpoint
from deepgguf.encodings import PLAIN
from deepgguf.executors.buffers import Buffers
from deepgguf.executors.executor import Executor, Progress
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.gguf.types import GGUFHeader
from deepgguf.models.family import AnyFamily
from deepgguf.models.match import read_model
from deepgguf.verification.compare_keys import key_differences
from deepgguf.verification.compare_slices import compare_slice
from deepgguf.verification.counterparts import Counterpart, find_counterparts
from deepgguf.verification.each_once import each_once
from deepgguf.verification.file_bytes import CheckedFile, FileBytes
from deepgguf.verification.mismatches import Mismatches, Outcome
from deepgguf.verification.report import Difference, SourceCheck
from deepgguf.verification.slices import Batch, batches


def check_source(
    checked: Sequence[CheckedFile], files: Files, executor: Executor, progress: Progress
) -> tuple[SourceCheck, list[Difference]]:
    """Compares tensors and keys. CheckpointError if the checkpoint in `files` is at fault itself."""
    checkpoint = read_checkpoint(files, executor)
    model, headers = read_model(checkpoint), [file.header for file in checked]
    found = find_counterparts(headers, model)
    if found is None:
        return SourceCheck(checkpoint.name, 0, 0, 0, {}), [_another_model(headers[0], model.family)]
    differences = [*key_differences(headers, checkpoint, model, found), *found.differences]
    weighted = any(key.startswith("quantize.imatrix.") for key in headers[0].keys)
    with files:
        opened = tuple(file.data for file in checked)
        comparer = _Comparer(opened, files, checkpoint.shards.files, weighted, Buffers())
        tasks = (
            batch
            for number, pair in enumerate(found.pairs)
            for batch in batches(number, pair, headers[pair.file].data_offset)
        )
        differences += _weight_differences(comparer, found.pairs, tasks, executor, progress)
        files.check_unchanged(checkpoint.shards.files)
    exact = sum(pair.tensor.type in PLAIN for pair in found.pairs)
    keys, dropped = sum(len(header.keys) for header in headers), dict(Counter(model.matched.left_out.values()))
    return SourceCheck(checkpoint.name, exact, len(found.pairs) - exact, keys, dropped), differences


def _another_model(header: GGUFHeader, family: AnyFamily) -> Difference:
    value = header.keys.get("general.architecture")
    known = {file.architecture for target in family.targets.values() for file in target.files.values()}
    text, expected = f"the source is a {family.name}", " or ".join(sorted(known))
    return Difference("key general.architecture", text, expected, repr(value.value) if value else "no such key")


def _weight_differences(
    comparer: "_Comparer", pairs: Sequence[Counterpart], tasks: Iterator[Batch], executor: Executor, progress: Progress
) -> list[Difference]:
    mismatches, sizes = [Mismatches(pair) for pair in pairs], [pair.tensor.nbytes for pair in pairs]
    with closing(each_once(executor, comparer.compare, tasks, sizes, progress)) as outcomes:
        for outcome in outcomes:
            mismatches[outcome.number].add(outcome)
    return [difference for one in mismatches for difference in one.differences()]


class _Comparer(msgspec.Struct, frozen=True):
    """What comparing any slice takes: the files, the source's files, whether an importance matrix was used."""

    opened: tuple[FileBytes, ...]
    files: Files
    sources: tuple[FileFacts, ...]
    weighted: bool
    buffers: Buffers

    def compare(self, batch: Batch) -> Iterator[Outcome]:
        """Every slice against its source."""
        read = self.files.by_number(self.sources)
        for slice in batch.slices:
            data = self.buffers.take("file", slice.nbytes)
            self.opened[batch.file].readinto(batch.start + slice.offset, data)
            stored = batch.source.read_rows(slice.cols, slice.source_row, slice.rows, read, self.buffers)
            wrong, squares = compare_slice(batch, slice, data, stored, self.buffers, weighted=self.weighted)
            yield Outcome(batch.pair, slice.offset, slice.nbytes, slice.source, wrong, squares)
