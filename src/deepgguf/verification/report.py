"""What a verification found, as data."""

from pathlib import Path

import msgspec

from deepgguf.verification.equality import Equality


class Difference(msgspec.Struct, frozen=True):
    """Something that is not as it should be.

    `where` names file, tensor or key, and for weights the expert, row and column; `text` says the rest in one line.
    `expected` and `found` are values where there are such.
    """

    where: str
    text: str
    expected: str = ""
    found: str = ""

    def __str__(self) -> str:
        """All in one line."""
        values = f"expected {self.expected}, found {self.found}" if self.expected or self.found else ""
        return f"{self.where}: " + "; ".join(part for part in (values, self.text) if part)


class VerifiedFile(msgspec.Struct, frozen=True):
    """A file that was looked at: bytes, tensors, keys.

    `manifest` is the path of its manifest, "" where there is none; `hashed` the number of tensors that were compared
    with it; `sha256` that of the whole file, if asked for.
    """

    path: Path
    size: int
    tensors: int
    keys: int
    manifest: str = ""
    hashed: int = 0
    sha256: str = ""


class SourceCheck(msgspec.Struct, frozen=True):
    """What was compared with the source: tensors by kind, keys, and the source tensors that belong in no file.

    `target` and `type` are the choices by which the file was made, as far as it tells; `chosen` is the number of
    tensors whose type is not that of the mixture `type`, as a user may choose. `remade` is the number of tensors that
    were made anew and compared byte by byte; `patched` are the keys that a patch has set or removed. `equality` is
    counted in files of the type "source" only.
    """

    source: str
    exact: int
    bounded: int
    keys: int
    dropped: dict[str, int]
    target: str = ""
    type: str = ""
    chosen: int = 0
    remade: int = 0
    patched: tuple[str, ...] = ()
    equality: Equality | None = None


class Verification(msgspec.Struct, frozen=True):
    """The outcome: no `differences`, no fault found. `seconds` is the time that it took."""

    files: tuple[VerifiedFile, ...]
    source: SourceCheck | None
    differences: tuple[Difference, ...]
    seconds: float
    schema: int = 1
