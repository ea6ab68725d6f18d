"""FILE.gguf.json: the hashes of a finished file, by which `verify` finds a changed bit without the source."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from deepgguf.files.files import FileFacts

_M = TypeVar("_M", bound=msgspec.Struct)

SCHEMA = 2
_CAP = 256 << 20  # bytes


class ManifestTensor(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tensor's place and digest: XXH3-128 over the XXH3-128 of its pieces.

    `pieces` has their lengths in bytes, for a run of parts that repeats through the tensor: one expert's. `nan` and
    `inf` count weights that are not finite.
    """

    name: str
    type: str
    offset: int
    nbytes: int
    digest: str
    pieces: tuple[int, ...]
    nan: int = 0
    inf: int = 0


class Manifest(msgspec.Struct, frozen=True):
    """What is known of a finished file. `header_digest` is the XXH3-128 of all bytes before the data.

    `source` is what the checkpoint is called, `address` where it is on a network, "" for one of this machine.
    """

    file: str
    size: int
    data_offset: int
    header_digest: str
    plan: str
    version: str
    target: str
    type: str
    source: str
    sources: tuple[FileFacts, ...]
    tensors: tuple[ManifestTensor, ...]
    piece_weights: int
    sha256: str = ""
    address: str = ""
    schema: int = SCHEMA


class _OfAnyVersion(msgspec.Struct, frozen=True):
    """What the manifests of all versions have."""

    size: int
    data_offset: int
    header_digest: str
    tensors: tuple[ManifestTensor, ...]
    schema: int


def is_manifest(path: Path) -> bool:
    """Whether `path` is a manifest, of whatever version."""
    return _decoded(path, _OfAnyVersion) is not None


def read_manifest(path: Path) -> Manifest | None:
    """The manifest at `path`; None if there is none in the form of this version."""
    return _of_this_version(_decoded(path, Manifest))


def parse_manifest(data: bytes) -> Manifest | None:
    """The manifest that `data` are; None if they are none in the form of this version."""
    return _of_this_version(_parsed(data, Manifest))


def plan_of_manifest(data: bytes) -> str | None:
    """The plan that a manifest of this version is of, "" for one of another; None for what is no manifest."""
    if _parsed(data, _OfAnyVersion) is None:
        return None
    manifest = parse_manifest(data)
    return manifest.plan if manifest else ""


def _of_this_version(manifest: Manifest | None) -> Manifest | None:
    return manifest if manifest and manifest.schema == SCHEMA else None


def _decoded(path: Path, type: type[_M]) -> _M | None:
    try:
        if not path.is_file() or path.stat().st_size > _CAP:
            return None
        return _parsed(path.read_bytes(), type)
    except OSError:
        return None


def _parsed(data: bytes, type: type[_M]) -> _M | None:
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def manifest_path(path: str | os.PathLike[str]) -> Path:
    """Where the manifest of the GGUF file `path` lies."""
    return Path(f"{os.fspath(path)}.json")
