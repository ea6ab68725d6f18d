"""The command line, with one thing in it or under it gone wrong: `python accidents.py ACCIDENT [deepgguf's arguments]`.

For what no file and no kernel can be brought to do at a chosen moment.
"""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any


def with_accident(name: str) -> tuple[str, ...]:
    """The command line as a program in which this goes wrong."""
    return (sys.executable, str(Path(__file__)), name)


def _rename(old: str, new: str) -> None:
    """Gives an output of every family's table another name."""
    from msgspec.structs import replace

    from deepgguf.models import known_families

    def renamed(row: Any) -> Any:
        outputs = {
            target: tuple(replace(o, name=new) if o.name == old else o for o in made)
            for target, made in row.outputs.items()
        }
        return replace(row, outputs=outputs)

    def table(whole: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: map(renamed, whole(*arguments))

    families = known_families()
    for name, family in families.items():
        families[name] = replace(family, table=table(family.table))


def long_name() -> None:
    """A model's table with a name of 64 bytes."""
    _rename("output_norm.weight", f"output_norm{'x' * 46}.weight")


def same_name() -> None:
    """A model's table that gives two tensors one name."""
    _rename("token_embd.weight", "output_norm.weight")


def short_writes() -> None:
    """No write takes more than 999 bytes."""
    whole = os.pwrite
    os.pwrite = lambda fd, data, offset: whole(fd, data[:999], offset)  # type: ignore[assignment]


def _at_first_weights(happen: Callable[[str], None]) -> None:
    """Calls `happen` with the shard's path when it is open, before the first read of weights."""
    from deepgguf.files.local import LocalFiles

    readinto, happened, lock = LocalFiles.readinto, [], threading.Lock()

    def read(files: LocalFiles, file: Any, offset: int, buffer: Any) -> None:
        if file.name.endswith(".safetensors") and offset > 8:  # the header begins at byte 8
            with lock:  # no thread reads weights before it has happened
                if not happened:
                    happened.append(True)
                    readinto(files, file, offset, bytearray(0))
                    happen(files.local_path(file.name))
        readinto(files, file, offset, buffer)

    LocalFiles.readinto = read  # type: ignore[method-assign]


def source_truncated() -> None:
    """The shard loses its second half when the run has just opened it."""
    _at_first_weights(lambda path: os.truncate(path, Path(path).stat().st_size // 2))


def source_touched() -> None:
    """The shard gets another time of change when the run has just opened it."""
    _at_first_weights(lambda path: os.utime(path, ns=(0, 0)))


def source_replaced() -> None:
    """Another file of the same size takes the shard's place."""

    def replace(path: str) -> None:
        size = Path(path).stat().st_size
        Path(path).unlink()
        Path(path).write_bytes(bytes(size))

    _at_first_weights(replace)


def _signalled(number: int) -> None:
    _at_first_weights(lambda path: signal.raise_signal(number))


def hangup() -> None:
    """The terminal is closed when the run has just opened the shard."""
    _signalled(signal.SIGHUP)


def interrupt() -> None:
    """Ctrl-C is pressed when the run has just opened the shard."""
    _signalled(signal.SIGINT)


def interrupted_import() -> None:
    """Ctrl-C is pressed when the module DEEPGGUF_IMPORT is about to be imported."""

    class Interrupt(MetaPathFinder):
        def find_spec(self, name: str, path: Any, target: Any = None) -> None:
            if name == os.environ["DEEPGGUF_IMPORT"]:
                signal.raise_signal(signal.SIGINT)

    sys.meta_path.insert(0, Interrupt())


def read_error() -> None:
    """The disk cannot read the weights."""

    def broken(fd: int, buffers: list[memoryview], offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def fail(path: str) -> None:
        os.preadv = broken

    _at_first_weights(fail)


def worker_exception() -> None:
    """A bug: a kernel raises after a few pieces."""
    from deepgguf.run import worker

    whole, made = worker.make_piece, []

    def make_piece(*arguments: Any) -> Any:
        made.append(True)
        if len(made) > 5:
            raise ValueError("no such row:\n\x1b[2J7")
        return whole(*arguments)

    worker.make_piece = make_piece


def worker_out_of_memory() -> None:
    """An allocation fails in a worker."""
    from deepgguf.run import worker

    def make_piece(*arguments: Any) -> Any:
        raise MemoryError

    worker.make_piece = make_piece


def slow() -> None:
    """A tenth of a second before every piece, so that there is time for a second run or a signal."""
    import time

    from deepgguf.run import worker

    whole = worker.make_piece

    def make_piece(*arguments: Any) -> Any:
        time.sleep(0.1)
        return whole(*arguments)

    worker.make_piece = make_piece


def count_calls() -> None:
    """Every call that writes adds a byte to the file DEEPGGUF_CALLS."""
    from deepgguf.run import execute

    class CountingDisk(execute.Disk):
        def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
            with Path(os.environ["DEEPGGUF_CALLS"]).open("ab") as calls:
                calls.write(b".")
            return function(*args)

    execute.Disk = CountingDisk  # type: ignore[misc]


def power_cut() -> None:
    """The power fails before the call DEEPGGUF_CUT of those that write; what was not synced is at its mercy."""
    from power_cut import PowerCut

    from deepgguf.run import execute

    folder, at = Path(os.environ["DEEPGGUF_FOLDER"]), int(os.environ["DEEPGGUF_CUT"])
    execute.Disk = lambda: PowerCut(folder, at)  # type: ignore[misc, assignment]


def _when_complete(happen: Callable[[Path], None]) -> None:
    """Calls `happen` with the path of the part DEEPGGUF_PART when its last bytes are written, before it is renamed."""
    from deepgguf.run import execute

    class WatchingDisk(execute.Disk):
        def call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
            done = function(*args)
            if name == "write" and bytes(args[1]) == b"GGUF":
                happen(Path(os.environ["DEEPGGUF_PART"]))
            return done

    execute.Disk = WatchingDisk  # type: ignore[misc]


def part_replaced() -> None:
    """A whole file with other weights takes the part's place at the last moment."""

    def replace(part: Path) -> None:
        other = part.with_name("other")
        other.write_bytes(part.read_bytes()[:-64] + bytes(64))
        other.rename(part)

    _when_complete(replace)


def folder_replaced() -> None:
    """Another folder takes the place of the output's, with a whole file under the part's name."""

    def replace(part: Path) -> None:
        other = part.read_bytes()[:-64] + bytes(64)
        part.parent.rename(part.parent.with_name("moved"))
        part.parent.mkdir()
        part.write_bytes(other)

    _when_complete(replace)


def part_replaced_early() -> None:
    """A stranger's file takes the part's place before the first piece is written."""

    def replace(shard: str) -> None:
        part = Path(os.environ["DEEPGGUF_PART"])
        part.unlink()
        part.write_bytes(b"precious")

    _at_first_weights(replace)


def journal_replaced() -> None:
    """A stranger's file takes the journal's place at the last moment."""

    def replace(part: Path) -> None:
        journal = part.with_name(f"{part.name}.journal")
        journal.unlink()
        journal.write_bytes(b"precious")

    _when_complete(replace)


def another_user() -> None:
    """The run is another user's than the files that are there."""
    from deepgguf.run import disk

    uid = os.geteuid() + 1
    os.geteuid = lambda: uid
    disk.owner_of_new_files = lambda folder: uid


def squashed_user() -> None:
    """The file system gives every file to one user, who is not the one of this run."""
    uid = os.geteuid() + 1
    os.geteuid = lambda: uid


if __name__ == "__main__":
    from deepgguf.cli import main

    globals()[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
