"""The header of a finished file replaced where it stands, with the old one kept beside it.

A file whose header is half written does not load: its magic goes first and comes back last, as in a part.
"""

import os
from pathlib import Path

import msgspec
import xxhash

from deepgguf.errors import CheckpointError, GGUFError, OutputError, UsageError
from deepgguf.files.local import LocalFiles
from deepgguf.formats.gguf.decode import decode_header
from deepgguf.formats.gguf.types import MAGIC, MAX_HEADER_BYTES
from deepgguf.formats.manifest import read_manifest
from deepgguf.formats.whole_file import read_whole
from deepgguf.run.disk import Disk, must_be_at
from deepgguf.run.manifest import write_manifest
from deepgguf.run.paths import Paths


def undo_path(path: Path) -> Path:
    """Where the header that was replaced is kept."""
    return path.with_name(f"{path.name}.undo")


def replace_header(path: Path, header: bytes, *, disk: Disk | None = None) -> Path:
    """Writes `header`, which is as long as the one there, into the file `path`; returns the path of the old one.

    UsageError if an undo file is there already or the file may not be written to, OutputError if it fails: then the
    file holds its old header or `undo_header` brings that back.
    """
    disk, undo = disk or Disk(), undo_path(path)
    fd = _opened(path, disk)
    try:
        before = os.pread(fd, len(header), 0)
        _keep(undo, before, disk)
        disk.sync_folder(path.parent)
        _write(fd, path, header, disk)
        _renew_manifest(path, header, disk)
    finally:
        os.close(fd)
    return undo


def undo_header(path: Path, *, disk: Disk | None = None) -> None:
    """Brings back the header that was replaced, and removes the undo file.

    UsageError if there is none, GGUFError if it is not the header of this file.
    """
    disk, undo = disk or Disk(), undo_path(path)
    header = _kept(undo)
    fd = _opened(path, disk)
    try:
        size = os.fstat(fd).st_size

        def read(offset: int, length: int) -> bytes:
            own = header[offset : offset + length]
            return own + os.pread(fd, length - len(own), offset + len(own))

        if decode_header(read, size, str(undo)).data_offset != len(header):
            raise GGUFError(undo, f"is not the header of {path.name}", "look for the file that it belongs to")
        _write(fd, path, header, disk)
        _renew_manifest(path, header, disk)
    finally:
        os.close(fd)
    disk.remove(undo)
    disk.sync_folder(path.parent)


def _kept(undo: Path) -> bytes:
    """The header in an undo file."""
    if not os.path.lexists(undo):
        raise UsageError(undo, "no such file, so nothing can be undone", "look for it beside the file")
    try:
        return read_whole(*LocalFiles.of_file(undo), MAX_HEADER_BYTES)
    except CheckpointError as error:
        raise GGUFError(undo, error.found, "look for the file that keeps the old header") from None


def _opened(path: Path, disk: Disk) -> int:
    """The file, locked. What has another name too, in Hugging Face's cache or in Ollama's store, is not written to."""
    if not path.is_file():
        raise UsageError(path, "no such file", "name a GGUF file")
    if path.is_symlink() or path.stat().st_nlink > 1:
        found = "a symlink" if path.is_symlink() else "a file with another name too (a hard link)"
        raise UsageError(path, f"is {found}, and is not changed in place", "give a new file as `output`")
    fd = disk.reopen(path)
    if not disk.lock(fd, path):
        os.close(fd)
        raise OutputError(path, "another run is at work on it", "wait until it ends")
    return fd


def _keep(undo: Path, header: bytes, disk: Disk) -> None:
    if disk.exists(undo):
        raise UsageError(undo, "exists: an earlier patch can still be undone", "undo it with `undo=True`, or remove it")
    fd = disk.create(undo)
    try:
        disk.write(fd, undo, memoryview(header), 0)
        disk.sync(fd, undo)
    finally:
        os.close(fd)


def _write(fd: int, path: Path, header: bytes, disk: Disk) -> None:
    """First a header that no engine loads, then the rest, then the magic; each on the medium before the next."""
    for data, offset in ((b"\0" * len(MAGIC), 0), (header[len(MAGIC) :], len(MAGIC)), (header[: len(MAGIC)], 0)):
        disk.write(fd, path, memoryview(data), offset)
        disk.sync(fd, path)


def _renew_manifest(path: Path, header: bytes, disk: Disk) -> None:
    """The manifest with the new header's digest, if there is one of deepgguf's."""
    paths = Paths(path)
    manifest = read_manifest(paths.manifest)
    if manifest is None:
        return
    digest = xxhash.xxh3_128_hexdigest(header)
    fd = write_manifest(disk, paths, msgspec.structs.replace(manifest, header_digest=digest))
    try:
        must_be_at(fd, paths.manifest_part)
        disk.rename(paths.manifest_part, paths.manifest)
    finally:
        os.close(fd)
    disk.sync_folder(path.parent)
