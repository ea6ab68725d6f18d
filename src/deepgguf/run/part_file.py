"""OUT.part: an output file until it is finished. The four magic bytes come last, so a stray part never loads."""

import errno
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import xxhash

from deepgguf.errors import DeepggufError, GGUFError, OutputError
from deepgguf.formats.gguf.decode import read_header
from deepgguf.formats.gguf.encode import encode_header
from deepgguf.formats.gguf.types import MAGIC
from deepgguf.planning.schema import PlannedFile
from deepgguf.run.disk import Disk, is_at, must_be_at, replaced
from deepgguf.run.paths import Paths
from deepgguf.run.torn import may_be_left_of

_RUN = 1 << 20  # bytes read at a time


class _TakenError(OutputError):
    """Another run has the part, and decides what becomes of it."""


class PartFile:
    """An open, locked part: its header and its reserved size; the data come from workers (`PartWriter`)."""

    def __init__(self, disk: Disk, paths: Paths, file: PlannedFile, fd: int) -> None:
        self.disk, self.paths, self.file, self.fd = disk, paths, file, fd
        self.header_digest = ""

    @classmethod
    def discard(cls, disk: Disk, paths: Paths, file: PlannedFile) -> None:
        """Removes a part that nobody is writing; OutputError if somebody is."""
        part = cls.reopen(disk, paths, file)
        try:
            disk.remove(paths.part)
        finally:
            part.close()

    @classmethod
    def create(cls, disk: Disk, paths: Paths, file: PlannedFile) -> "PartFile":
        """A new part with its header, without the magic bytes."""
        part = cls(disk, paths, file, disk.create(paths.part))
        try:
            part._lock()
            part.prepare()
        except _TakenError:
            raise
        except BaseException:
            disk.remove(paths.part)
            part.close()
            raise
        return part

    @classmethod
    def reopen(cls, disk: Disk, paths: Paths, file: PlannedFile) -> "PartFile":
        """A part that another run left, as it is; OutputError if a run is still writing it."""
        part = cls(disk, paths, file, disk.reopen(paths.part))
        part._lock()
        return part

    def _lock(self) -> None:
        try:
            locked = self.disk.lock(self.fd, self.paths.part)
            # A run that has just ended may have given the file its final name since it was opened here.
            if not locked or not os.path.samestat(os.fstat(self.fd), self.paths.part.lstat()):
                raise BlockingIOError
        except BaseException as error:
            self.close()
            if not isinstance(error, OSError):
                raise
            found = "another run is writing this file"
            raise _TakenError(self.paths.part, found, "wait for it, or give another `output`") from None

    @property
    def is_another(self) -> bool:
        """Whether its beginning cannot be what a run, however it ended, has written of this header."""
        with self._read():
            return not may_be_left_of(planned_header(self.file), os.pread(self.fd, self.file.data_offset, 0))

    @property
    def is_untouched(self) -> bool:
        """Whether no tensor's data is in it yet, nor anything else than its own header."""
        return not self.is_another and not self._holds_data()

    def _holds_data(self) -> bool:
        start = self.file.data_offset
        with self._read():
            while True:
                try:
                    start = os.lseek(self.fd, start, os.SEEK_DATA)  # what is only reserved is not read
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        raise
                    return False
                data = os.pread(self.fd, _RUN, start)
                if data.count(0) < len(data):
                    return True
                start += len(data)

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = "check the disk, then run again with `resume=True`"
            raise OutputError(self.paths.part, f"reading it failed: {error.strerror}", advice) from None

    def clear(self) -> None:
        """Makes what lies between the tensors, and behind the file's end, what it is in a new part."""
        self.disk.truncate(self.fd, self.paths.part, min(os.fstat(self.fd).st_size, self.file.size))
        for offset, nbytes in paddings(self.file):
            self.write(memoryview(bytes(nbytes)), offset)

    def prepare(self) -> None:
        """Reserves the file's size and writes its header."""
        self.disk.allocate(self.fd, self.paths.part, self.file.size)
        header = planned_header(self.file)
        assert len(header) == self.file.data_offset
        self.header_digest = xxhash.xxh3_128_hexdigest(header)
        self.disk.write(self.fd, self.paths.part, memoryview(bytes(len(MAGIC)) + header[len(MAGIC) :]), 0)

    def write(self, data: memoryview, offset: int) -> None:
        """`data` at byte `offset` of the file, for a worker that could not."""
        self.disk.write(self.fd, self.paths.part, data, offset)

    def sync(self) -> None:
        """What is written so far, on the medium."""
        self.disk.sync(self.fd, self.paths.part)

    def complete(self) -> None:
        """Data on the medium, then the magic bytes, then a look at it by the independent reader."""
        must_be_at(self.fd, self.paths.part)
        self.sync()
        self.disk.write(self.fd, self.paths.part, memoryview(MAGIC), 0)
        self.sync()
        header = read_header(self.paths.part)
        planned = tuple(tensor.info for tensor in self.file.tensors)
        if header.tensors != planned or header.keys.keys() != self.file.keys.keys():
            raise GGUFError(self.paths.part, "does not read back as planned", "report this as a bug")

    def give_name(self) -> None:
        """Gives the file its final name: this file, not whichever has the part's name by now."""
        must_be_at(self.fd, self.paths.part)
        self.disk.rename(self.paths.part, self.paths.final)
        must_be_at(self.fd, self.paths.final)

    def remove(self) -> bool:
        """Removes the part; False if its name is another file's."""
        own = is_at(self.fd, self.paths.part)
        if own:
            self.disk.remove(self.paths.part)
        return own

    @property
    def inode(self) -> int:
        """The file's number, by which a worker knows it; the device's is not the same on every machine."""
        return os.fstat(self.fd).st_ino

    def far_writer(self) -> "FarPartWriter":
        """What another machine's workers write by.

        What is written so far is synced before: this machine may write whole pages of it, with bytes of theirs in them.
        """
        self.sync()
        facts = os.fstat(self.fd)
        return FarPartWriter(self.disk, self.paths.part.absolute(), facts.st_ino, facts.st_mtime_ns)

    def close(self) -> None:
        """Closes the file, which unlocks it; again is harmless."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class PartWriter:
    """Writes at any offset of a part that a coordinator has made, from any thread of any process that sees the file."""

    def __init__(self, disk: Disk, path: Path, inode: int) -> None:
        """`inode` is the part's: another file at `path` is left alone."""
        self._disk, self._path, self._inode, self._fd = disk, path, inode, -1
        self._lock = threading.Lock()

    def write(self, data: memoryview, offset: int) -> None:
        """`data` at byte `offset` of the file. OutputError if it cannot be written."""
        with self._lock:
            if self._fd < 0:
                self._fd = self._disk.reopen_to_write(self._path)
                if os.fstat(self._fd).st_ino != self._inode:
                    self.close()
                    raise replaced(self._path)
        self._disk.write(self._fd, self._path, data, offset)

    def close(self) -> None:
        """Closes the file; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        """Closes: another process gets a writer with every task, and nobody there closes it."""
        self.close()

    def __reduce__(self) -> tuple[type["PartWriter"], tuple[Disk, Path, int]]:
        """Sent elsewhere, it opens the file there."""
        return PartWriter, (self._disk, self._path, self._inode)


class FarPartWriter(PartWriter):
    """The same for a worker of another machine, where the path may lead nowhere, or to another file."""

    def __init__(self, disk: Disk, path: Path, inode: int, changed: int) -> None:
        """`changed` is the part's st_mtime_ns before any worker writes: two machines may number their files alike."""
        super().__init__(disk, path, inode)
        self._changed = changed

    def obstacle(self) -> str:
        """See `FarWriter.obstacle`."""
        try:
            fd = self._disk.reopen_to_write(self._path)
        except DeepggufError as error:
            return error.found
        try:
            facts = os.fstat(fd)
        finally:
            os.close(fd)
        same = (facts.st_ino, facts.st_mtime_ns) == (self._inode, self._changed)
        return "" if same else "another file is there"

    def settle(self) -> Mapping[int, str]:
        """See `FarWriter.settle`: no other machine can sync what this one has written."""
        if self._fd >= 0:
            self._disk.sync(self._fd, self._path)
        return {}

    def __reduce__(self) -> tuple[type["FarPartWriter"], tuple[Disk, Path, int, int]]:  # type: ignore[override]
        """Sent elsewhere, it opens the file there."""
        return FarPartWriter, (self._disk, self._path, self._inode, self._changed)


def planned_header(file: PlannedFile) -> bytes:
    """All bytes before the data, the magic bytes too."""
    return encode_header(file.keys, [tensor.info for tensor in file.tensors])


def paddings(file: PlannedFile) -> Iterator[tuple[int, int]]:
    """(offset, bytes) of what lies behind tensors up to the next one, or up to the file's end: zeros."""
    infos = [tensor.info for tensor in file.tensors]
    ends = [file.data_offset + info.offset + info.nbytes for info in infos]
    starts = [*(file.data_offset + info.offset for info in infos[1:]), file.size]
    return ((end, start - end) for end, start in zip(ends, starts, strict=False) if start > end)
