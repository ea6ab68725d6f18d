"""How a source is opened, a checkpoint's files or a GGUF file, and the threads that read it."""

from collections.abc import Iterator
from contextlib import contextmanager

from deepgguf.api.output import is_folder
from deepgguf.checkpoint.gguf_source import GGUFSource, read_gguf_source
from deepgguf.choices import StrPath
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.executors.executor import Executor
from deepgguf.executors.threads import Threads, available_processors
from deepgguf.files.files import Files
from deepgguf.files.find import find_file, find_files, is_address

Source = StrPath | Files


def opened(source: Source, cache: StrPath | None) -> Files:
    """The source's files, which keep what is read in the folder `cache` if there is one."""
    return _kept_in(cache, find_files(source))


def _kept_in(cache: StrPath | None, files: Files) -> Files:
    if cache is not None:
        files.keep_in(cache)
    return files


@contextmanager
def opened_gguf(source: StrPath, cache: StrPath | None = None) -> Iterator[GGUFSource]:
    """The GGUF file `source`, or the set that it belongs to, open meanwhile; `cache` is as for `opened`.

    UsageError if there is none, or it is a folder; GGUFError if it is not sound.
    """
    if is_folder(source):
        raise UsageError(source, "a folder, not a GGUF file", "name a file; a checkpoint's folder is for `convert`")
    files, name = find_file(source, "a GGUF file")
    with _kept_in(cache, files):
        try:
            found = read_gguf_source(files, name)
        except CheckpointError as error:
            if is_address(source) and error.where == name:
                raise UsageError(source, error.found, error.advice) from None
            raise
        yield found


def readers_of(files: Files) -> Executor | None:
    """Threads that read headers where several requests at once are worth it."""
    return Threads(files.connections, files.abandon) if files.connections else None


def with_readers(threads: Threads, files: Files, readers: int) -> Threads:
    """The threads, and as many `readers` that wait for what comes next meanwhile."""
    return Threads(threads.jobs + readers, files.abandon)


def all_processors() -> Threads:
    """A thread for each processor that this process may use."""
    return Threads(available_processors())
