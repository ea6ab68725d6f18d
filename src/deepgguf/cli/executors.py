"""--executor: who carries the tasks out."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from deepgguf.errors import UsageError

if TYPE_CHECKING:
    from deepgguf.executors.executor import Executor


def add_executor(parser: argparse.ArgumentParser) -> None:
    """The flag of commands that carry out tasks."""
    help = "what does the work: threads, or a Ray cluster (default: threads)"
    parser.add_argument("--executor", metavar="threads|ray[:ADDRESS]", default="threads", help=help)


@contextmanager
def executor_of(options: argparse.Namespace) -> "Iterator[Executor | None]":
    """The argument `executor` of the library; None for threads. UsageError for a word that names nothing."""
    kind, _, address = options.executor.partition(":")
    if kind == "threads" and not address:
        yield None
        return
    if kind != "ray":
        raise UsageError("`executor`", f"{options.executor!r} is unknown", "choose from threads, ray, ray:HOST:PORT")
    from deepgguf.executors.ray import Ray

    ray = Ray(address or None, options.jobs)
    with redirect_stdout(sys.stderr):  # where Ray says what becomes of its nodes, in a thread of its own
        try:
            yield ray
        finally:
            ray.close()
