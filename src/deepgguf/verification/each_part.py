"""What an executor gives back, each part once, and nothing left out."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import TypeVar

import msgspec

from deepgguf.errors import OutputError
from deepgguf.executors.executor import Executor, Progress, Task


class Part(msgspec.Struct, frozen=True, gc=False):
    """The result for `nbytes` bytes from byte `start` of the tensor number `number`."""

    number: int
    start: int
    nbytes: int


P = TypeVar("P", bound=Part)


def each_part(
    executor: Executor,
    work: Callable[[Task], Iterable[P]],
    tasks: Iterable[Task],
    sizes: Sequence[int],
    progress: Progress,
) -> Generator[P]:
    """The parts of tensors of `sizes` bytes, as they come; those of a task that is done twice count once.

    OutputError at the end if the executor has left any out.
    """
    missing, seen = list(sizes), [set[int]() for _ in sizes]
    with closing(executor.map(work, tasks)) as parts:
        for part in parts:
            if not missing[part.number] or part.start in seen[part.number]:
                continue
            seen[part.number].add(part.start)
            missing[part.number] -= part.nbytes
            if not missing[part.number]:
                seen[part.number].clear()  # there are a million slices in all
            progress(part.nbytes)
            yield part
    if any(missing):
        found = f"left work undone: {sum(missing):,} of {sum(sizes):,} bytes were not checked"
        raise OutputError("`executor`", found, "run it again, or with another one")
