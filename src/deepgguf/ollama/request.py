"""What is asked for, and what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from deepgguf.ollama.modelfile import Modelfile
from deepgguf.ollama.name import ModelName
from deepgguf.run.result import Report

Way = Literal["store", "api"]
Say = Callable[[str], None]
"""Called with one line for people: which way is taken, what the server says."""


class Request(msgspec.Struct, frozen=True):
    """A model that is to be made: its name, all of its Modelfile but the files, whether it may replace another."""

    name: ModelName
    modelfile: Modelfile
    overwrite: bool = False


class OllamaReport(msgspec.Struct, frozen=True):
    """A model that is made: its name, the way, where it is (a folder or a URL), its files' digests as they were given.

    By way of the API the server may have written a model anew, so that its blob has another digest. `conversion` is the
    report of a conversion, whose paths are those of the blobs if the files went into the store.
    """

    name: str
    way: Way
    where: str
    sha256: dict[str, str]
    conversion: Report | None = None

    @property
    def command(self) -> str:
        """The command that runs the model."""
        return f"ollama run {self.name}"


class Source(msgspec.Struct, frozen=True):
    """A whole file on the disk that becomes a layer: where it is, and the name that it goes by."""

    path: Path
    name: str
    sha256: str
