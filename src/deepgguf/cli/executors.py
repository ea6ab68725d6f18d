"""--executor: who carries the tasks out."""

import argparse
from typing import TYPE_CHECKING

from deepgguf.errors import UsageError

if TYPE_CHECKING:
    from deepgguf.executors.executor import Executor


def add_executor(parser: argparse.ArgumentParser) -> None:
    """The flag of commands that carry out tasks."""
    help = "who does the work: threads, or a Ray cluster (default: threads)"
    parser.add_argument("--executor", metavar="threads|ray[:ADDRESS]", default="threads", help=help)


def executor_of(options: argparse.Namespace) -> "Executor | None":
    """The argument `executor` of the library; None for threads. UsageError for a word that names nothing."""
    kind, _, address = options.executor.partition(":")
    if kind == "threads" and not address:
        return None
    if kind != "ray":
        raise UsageError("`executor`", f"{options.executor!r} is unknown", "choose from threads, ray, ray:HOST:PORT")
    from deepgguf.executors.ray import Ray

    return Ray(address or None, options.jobs)
