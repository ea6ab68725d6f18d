"""OUT.part: an output file until it is finished. The four magic bytes come last, so a stray part never loads."""

import fcntl
import os
from pathlib import Path

import msgspec
import xxhash

from deepgguf.errors import DeepggufError, GGUFError, OutputError
from deepgguf.formats.gguf.decode import read_header
from deepgguf.formats.gguf.encode import encode_header
from deepgguf.formats.gguf.types import MAGIC
from deepgguf.planning.schema import PlannedFile
from deepgguf.run.disk import Disk


class Paths(msgspec.Struct, frozen=True):
    """The names that belong to one output file."""

    final: Path

    @property
    def part(self) -> Path:
        """The file while it is written."""
        return self.final.with_name(self.final.name + ".part")

    @property
    def journal(self) -> Path:
        """Which pieces of the part are on the medium."""
        return self.final.with_name(self.final.name + ".part.journal")

    @property
    def manifest(self) -> Path:
        """The hashes, beside the finished file."""
        return self.final.with_name(self.final.name + ".json")

    @property
    def manifest_part(self) -> Path:
        """The hashes until the file has its final name."""
        return self.final.with_name(self.final.name + ".json.part")


class PartFile:
    """An open part: header and preallocated data, written at fixed offsets by any thread."""

    def __init__(self, disk: Disk, paths: Paths, file: PlannedFile, fd: int) -> None:
        self.disk, self.paths, self.file, self.fd = disk, paths, file, fd
        self.header_digest = ""

    @classmethod
    def discard(cls, disk: Disk, paths: Paths, file: PlannedFile) -> None:
        """Removes a part that nobody is writing; OutputError if somebody is."""
        part = cls.reopen(disk, paths, file)
        disk.remove(paths.part)
        part.close()

    @classmethod
    def create(cls, disk: Disk, paths: Paths, file: PlannedFile) -> "PartFile":
        """A new part with its header, without the magic bytes."""
        part = cls(disk, paths, file, disk.create(paths.part))
        part._lock()
        try:
            part.prepare()
        except DeepggufError:
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
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A run that has just ended may have given the file its final name since it was opened here.
            if not os.path.samestat(os.fstat(self.fd), self.paths.part.lstat()):
                raise BlockingIOError
        except OSError:
            os.close(self.fd)
            found = "another run is writing this file"
            raise OutputError(self.paths.part, found, "wait for it, or give another `output`") from None

    def prepare(self) -> None:
        """Reserves the file's size and writes its header."""
        self.disk.allocate(self.fd, self.paths.part, self.file.size)
        header = encode_header(self.file.keys, [tensor.info for tensor in self.file.tensors])
        assert len(header) == self.file.data_offset
        self.header_digest = xxhash.xxh3_128_hexdigest(header)
        self.disk.write(self.fd, self.paths.part, memoryview(bytes(len(MAGIC)) + header[len(MAGIC) :]), 0)

    def write(self, data: memoryview, tensor: int, offset: int) -> None:
        """`data` at byte `offset` of the tensor number `tensor`."""
        start = self.file.data_offset + self.file.tensors[tensor].info.offset + offset
        self.disk.write(self.fd, self.paths.part, data, start)

    def sync(self) -> None:
        """What is written so far, on the medium."""
        self.disk.sync(self.fd, self.paths.part)

    def complete(self) -> None:
        """Data on the medium, then the magic bytes, then a look at it by the independent reader."""
        self.sync()
        self.disk.write(self.fd, self.paths.part, memoryview(MAGIC), 0)
        self.sync()
        header = read_header(self.paths.part)
        planned = tuple(tensor.info for tensor in self.file.tensors)
        if header.tensors != planned or header.keys.keys() != self.file.keys.keys():
            raise GGUFError(self.paths.part, "reads back otherwise than planned", "report this as a bug")

    def close(self) -> None:
        """Lets go of the file and its lock."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
