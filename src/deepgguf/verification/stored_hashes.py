"""FILE.gguf.json as it is read: nothing in it is trusted beyond its form."""

import os
from pathlib import Path

import msgspec

from deepgguf.errors import CheckpointError, VerificationError
from deepgguf.files.files import FileFacts
from deepgguf.files.local import LocalFiles
from deepgguf.formats.manifest import ManifestTensor
from deepgguf.formats.whole_file import read_whole

SCHEMAS = (1, 2)
_CAP = 32 << 20  # a thousand times what a DeepSeek-V3 needs
# A large tensor's pieces have some 2^19 weights, 170 kB and more; a tensor, or an expert, may be as small as it likes.
_SMALLEST_PIECE = 1 << 16
_MOST_PIECES = 1 << 16
_ADVICE = "convert again, or remove it to check the structure only"


class StoredHashes(msgspec.Struct, frozen=True):
    """What is used of a `Manifest`; its other members may be those of an older version.

    `target`, `type`, `source`, `sources` and deepgguf's `version` say what the file was made of and how; only other
    evidence proves it.
    """

    size: int
    data_offset: int
    header_digest: str
    tensors: tuple[ManifestTensor, ...]
    schema: int
    sha256: str = ""
    target: str = ""
    type: str = ""
    source: str = ""
    version: str = ""
    sources: tuple[FileFacts, ...] = ()


def read_stored_hashes(path: Path) -> StoredHashes | None:
    """The hashes in `path`, or None if there is no such file. VerificationError if it is not what
    it should be, or there and not to be read.
    """
    if not os.path.lexists(path):
        return None
    try:
        text = read_whole(*LocalFiles.of_file(path), _CAP)
    except CheckpointError as error:
        raise VerificationError(path, error.found, _ADVICE) from None
    try:
        stored = msgspec.json.decode(text, type=StoredHashes)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise VerificationError(path, f"is not a manifest: {error}", _ADVICE) from None
    if stored.schema not in SCHEMAS:
        known = " and ".join(map(str, SCHEMAS))
        raise VerificationError(path, f"has schema {stored.schema}, and only {known} are known", "update deepgguf")
    for tensor in stored.tensors:
        if not tensor.pieces or min(tensor.pieces) <= 0 or tensor.nbytes % sum(tensor.pieces):
            found = f"the pieces of tensor {tensor.name} do not fill its {tensor.nbytes} bytes"
            raise VerificationError(path, found, _ADVICE)
    pieces = sum(tensor.nbytes // sum(tensor.pieces) * len(tensor.pieces) for tensor in stored.tensors)
    most = _MOST_PIECES + stored.size // _SMALLEST_PIECE
    if pieces > most:
        found = f"cuts {stored.size:,} bytes into {pieces:,} pieces, and {most:,} are the most that a conversion makes"
        raise VerificationError(path, found, _ADVICE)
    return stored
