"""A file or split set against the checkpoint, or the GGUF file, that it was made from."""

from collections.abc import Container, Iterator, Sequence
from contextlib import closing

import msgspec
import numpy as np

from deepgguf.checkpoint.importance import ImportanceFile
from deepgguf.checkpoint.tied_head import HEAD, head_differs
from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Bytes, Stored
from deepgguf.executors.buffers import Buffers
from deepgguf.executors.executor import Executor, Progress
from deepgguf.files.files import FileFacts, Files
from deepgguf.verification.compare_headers import header_against_plan
from deepgguf.verification.compare_slices import compare_slice
from deepgguf.verification.counterparts import Counterpart, pair_up
from deepgguf.verification.each_once import each_once
from deepgguf.verification.equality import Equality, equality
from deepgguf.verification.error_bounds import Importance
from deepgguf.verification.expected import Expected
from deepgguf.verification.file_bytes import CheckedFile, FileBytes
from deepgguf.verification.mismatches import Mismatches, Outcome
from deepgguf.verification.plain_bits import BIT_TYPES
from deepgguf.verification.report import Difference, SourceCheck
from deepgguf.verification.slices import Batch, Slice, batches

_UNKNOWN_IMPORTANCE = "; the importance matrix may declare them to be worth nothing: give it as `imatrix`"

_ANOTHER_HEAD = Difference(
    f"tensor {HEAD}",
    "was left out as tied to the token embedding, but some rows differ: set tie_word_embeddings to false in "
    "config.json and convert again",
)


def check_source(
    checked: Sequence[CheckedFile], expected: Expected, executor: Executor, progress: Progress
) -> tuple[SourceCheck, list[Difference]]:
    """Compares keys, tensors and weights. CheckpointError if the source changes meanwhile."""
    source, headers = expected.source, [file.header for file in checked]
    if expected.other_model:
        return SourceCheck(source.name, 0, 0, 0, {}), [expected.other_model]
    types = {tensor.name: tensor.type for file in expected.files for tensor in file.tensors}
    pairs, differences = pair_up(headers, expected.origins, types)
    differences = [*header_against_plan(checked, expected.files), *differences]
    with source.files:
        opened, counts = tuple(file.data for file in checked), expected.type == "source"
        comparer = _Comparer(opened, source.files, source.numbered, expected.importance_file, Buffers(), counts)
        tasks = (
            batch
            for number, pair in enumerate(pairs)
            for batch in batches(
                number, pair, headers[pair.file].data_offset, expected.importance.get(pair.tensor.name)
            )
        )
        found, equal = _weight_differences(comparer, pairs, tasks, expected.importance, executor, progress)
        differences += found
        if head_differs(source.tied, source.files.by_number(source.numbered), whole=True):
            differences.append(_ANOTHER_HEAD)
        source.files.check_unchanged(source.numbered)
    exact = sum(_is_compared_exactly(pair) for pair in pairs)
    return SourceCheck(
        source=source.name,
        exact=exact,
        bounded=len(pairs) - exact,
        keys=sum(len(header.keys) for header in headers),
        dropped=dict(expected.dropped),
        target=expected.target,
        type=expected.type,
        chosen=expected.chosen,
        patched=expected.patched,
        equality=equal if counts else None,
    ), differences


def _is_compared_exactly(pair: Counterpart) -> bool:
    """Whether every bit is: of plain types, and of blocks that were taken over."""
    type = pair.tensor.type
    if type in BIT_TYPES or pair.view.transposed:
        return type in BIT_TYPES
    return all(encoding_of(type).repacks(form, exact=False) for form in {s.encoding for s in pair.sources})


def _weight_differences(
    comparer: "_Comparer", pairs: Sequence[Counterpart], tasks: Iterator[Batch], weighted: Container[str],
    executor: Executor, progress: Progress,
) -> tuple[list[Difference], Equality]:  # fmt: skip
    unknown = comparer.importance is None
    advice = [_UNKNOWN_IMPORTANCE if unknown and pair.tensor.name in weighted else "" for pair in pairs]
    mismatches = [Mismatches(pair, text) for pair, text in zip(pairs, advice, strict=True)]
    sizes, equal = [pair.tensor.nbytes for pair in pairs], Equality()
    with closing(each_once(executor, comparer.compare, tasks, sizes, progress)) as outcomes:
        for outcome in outcomes:
            mismatches[outcome.number].add(outcome)
            equal = equal.plus(outcome.equality or Equality())
    return [difference for one in mismatches for difference in one.differences()], equal


class _Comparer(msgspec.Struct, frozen=True):
    """What comparing any slice takes: the files, the source's files, the importance matrix if it is at hand.

    `counts`: whether to count equal weights.
    """

    opened: tuple[FileBytes, ...]
    files: Files
    sources: tuple[FileFacts, ...]
    importance: ImportanceFile | None
    buffers: Buffers
    counts: bool

    def compare(self, batch: Batch) -> Iterator[Outcome]:
        """Every slice against its source."""
        read = self.files.by_number(self.sources)
        for slice in batch.slices:
            data = self.buffers.take("file", slice.nbytes)
            self.opened[batch.file].readinto(batch.start + slice.offset, data)
            stored = batch.source.read_rows(slice.cols, slice.source_row, slice.rows, read, self.buffers)
            wrong, squares = compare_slice(batch, slice, data, stored, self.buffers, self._importance(batch, slice))
            equal = self._equality(batch, slice, data, stored) if self.counts else None
            yield Outcome(batch.pair, slice.offset, slice.nbytes, slice.source, wrong, squares, equal)

    def _equality(self, batch: Batch, slice: Slice, data: Bytes, stored: Stored) -> Equality:
        values = batch.source.encoding.values(stored, self.buffers)
        return equality(batch.type, data, np.ascontiguousarray(values.T) if slice.transposed else values)

    def _importance(self, batch: Batch, slice: Slice) -> Importance | None:
        """That of the slice's columns in the output; None where it was not weighted."""
        if batch.importance is None:
            return None
        if self.importance is None:
            return Importance()
        matrix = slice.source * batch.heads + max(slice.head, 0)
        return Importance(self.importance.columns(batch.importance, matrix))
