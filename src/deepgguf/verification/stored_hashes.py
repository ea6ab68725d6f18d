"""FILE.gguf.json as it is read: nothing in it is trusted beyond its form."""

import os
from pathlib import Path

import msgspec

from deepgguf.errors import CheckpointError, VerificationError
from deepgguf.files.local import LocalFiles
from deepgguf.formats.manifest import ManifestTensor
from deepgguf.formats.whole_file import read_whole

SCHEMAS = (1, 2)
_CAP = 256 << 20
_ADVICE = "convert again, or remove it to check the structure only"


class StoredHashes(msgspec.Struct, frozen=True):
    """What is checked of a `Manifest`; its other members may be those of an older version."""

    size: int
    data_offset: int
    header_digest: str
    tensors: tuple[ManifestTensor, ...]
    schema: int
    sha256: str = ""


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
    return stored
