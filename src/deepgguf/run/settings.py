"""How a plan is carried out, and what came of it; nothing here decides a byte."""

from pathlib import Path

import msgspec

from deepgguf.encodings.encoding import Counts
from deepgguf.run.tally import TensorResult


class Settings(msgspec.Struct, frozen=True):
    """`resume` is "" (a part from before is refused), "resume" or "restart"; `jobs` is the number of threads."""

    folder: Path
    jobs: int = 1
    overwrite: bool = False
    resume: str = ""
    allow_nonfinite: bool = False
    manifest: bool = True
    sha256: bool = False


class FileReport(msgspec.Struct, frozen=True):
    """A finished file: its path, its tensors in file order, its SHA-256 if asked for."""

    path: Path
    size: int
    tensors: tuple[TensorResult, ...]
    sha256: str = ""


class Report(msgspec.Struct, frozen=True):
    """What a run did: files, seconds, bytes written by it and bytes found from before."""

    files: tuple[FileReport, ...]
    seconds: float
    written: int
    resumed: int

    @property
    def counts(self) -> Counts:
        """NaN, Inf and overflow over all tensors."""
        total = Counts()
        for file in self.files:
            for result in file.tensors:
                total = total.plus(result.counts)
        return total
