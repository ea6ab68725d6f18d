"""What an executor gives back, each result once, and nothing left out."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import TypeVar

import msgspec

from deepgguf.errors import OutputError
from deepgguf.executors.executor import Executor, Progress, Task


class Checked(msgspec.Struct, frozen=True, gc=False):
    """The result for `nbytes` bytes from byte `start` of the tensor number `number`."""

    number: int
    start: int
    nbytes: int


C = TypeVar("C", bound=Checked)


def each_once(
    executor: Executor,
    work: Callable[[Task], Iterable[C]],
    tasks: Iterable[Task],
    sizes: Sequence[int],
    progress: Progress,
) -> Generator[C]:
    """What was checked of tensors of `sizes` bytes, as it comes; what is done twice counts once.

    OutputError at the end if the executor has left any out.
    """
    missing, seen = list(sizes), [set[int]() for _ in sizes]
    with closing(executor.map(work, tasks)) as results:
        for result in results:
            if not missing[result.number] or result.start in seen[result.number]:
                continue
            seen[result.number].add(result.start)
            missing[result.number] -= result.nbytes
            if not missing[result.number]:
                seen[result.number].clear()  # there are a million slices in all
            progress(result.nbytes)
            yield result
    if any(missing):
        found = f"left {sum(missing):,} of {sum(sizes):,} bytes unchecked"
        raise OutputError("`executor`", found, "run it again, or with another one")
