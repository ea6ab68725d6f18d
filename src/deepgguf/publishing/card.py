"""What a model card says, as data. It stands in the card too, so that the next run can add its files."""

from typing import Literal

import msgspec

from deepgguf.files.hub_name import HubName

Engine = Literal["llama.cpp", "Ollama"]


class Said(msgspec.Struct, frozen=True):
    """What is known of the original model: `base` is its repository on the Hub. None and empty for what is not."""

    name: str
    base: str | None = None
    commit: str | None = None
    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()

    @property
    def address(self) -> str | None:
        """Where deepgguf reads the original from."""
        return HubName(self.base, self.commit).address if self.base and self.commit else None


class PublishedFile(msgspec.Struct, frozen=True):
    """A file: bytes, bits per weight, the relative RMS error of all that was quantized if it was measured, SHA-256."""

    name: str
    size: int
    bits: float
    error: float | None
    sha256: str


class Made(msgspec.Struct, frozen=True):
    """What one command made. `runs` is the file that an engine is started with, None if there is none; `engines` are
    those that fetch it from the Hub by themselves.
    """

    files: tuple[PublishedFile, ...]
    runs: str | None
    engines: tuple[Engine, ...]
    command: str
    version: str


class Card(msgspec.Struct, frozen=True):
    """All of it. `published_as` is the repository (ORGANIZATION/NAME) that the folder will be, None if not known."""

    said: Said
    published_as: str | None
    made: tuple[Made, ...]
