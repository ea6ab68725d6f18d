"""FILE.gguf.json: the hashes of a finished file, by which `verify` finds a changed bit without the source."""

import os
from pathlib import Path

import msgspec

from deepgguf.files.files import FileFacts

SCHEMA = 2


class ManifestTensor(msgspec.Struct, frozen=True):
    """A tensor's place and digest: XXH3-128 over the XXH3-128 of its pieces.

    `pieces` has their lengths in bytes, for a run of parts that repeats through the tensor: one expert's.
    """

    name: str
    type: str
    offset: int
    nbytes: int
    digest: str
    pieces: tuple[int, ...]


class Manifest(msgspec.Struct, frozen=True):
    """What is known of a finished file. `header_digest` is the XXH3-128 of all bytes before the data."""

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
    schema: int = SCHEMA


def manifest_path(path: str | os.PathLike[str]) -> Path:
    """Where the manifest of the GGUF file `path` lies."""
    return Path(f"{os.fspath(path)}.json")
