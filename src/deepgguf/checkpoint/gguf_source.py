"""A GGUF file, or a split set, as a source: its headers, and its tensors as they are stored."""

import os
from pathlib import Path

import msgspec

from deepgguf.encodings import encoding_of
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.files.files import FileFacts, Files
from deepgguf.files.find import is_address
from deepgguf.formats.gguf.split_set import read_header_among, read_whole_set
from deepgguf.formats.gguf.types import MAGIC, GGUFHeader, TensorInfo, Value
from deepgguf.tensors.source_tensor import Blob, SourceTensor

ARCHITECTURE = "general.architecture"


class GGUFSource(msgspec.Struct, frozen=True):
    """The files of a model in their order, with their headers. `name` is that of the file that was given."""

    name: str
    files: Files
    sources: tuple[FileFacts, ...]
    headers: tuple[GGUFHeader, ...]

    @property
    def keys(self) -> dict[str, Value]:
        """The model's, which are in the first file."""
        return self.headers[0].keys

    @property
    def architecture(self) -> str:
        """What the file calls the model's architecture; "" if it does not say."""
        value = self.keys.get(ARCHITECTURE)
        return str(value.value) if value else ""

    def number(self, name: str) -> int | None:
        """The architecture's key of that name, if it is a whole number."""
        value = self.keys.get(f"{self.architecture}.{name}")
        return value.value if value and isinstance(value.value, int) and not isinstance(value.value, bool) else None

    def tensors(self) -> list[list[SourceTensor]]:
        """Those of every file, in the order of their data; UsageError for a type that deepgguf does not read."""
        return [
            [_source_tensor(info, number, header) for info in header.tensors]
            for number, header in enumerate(self.headers)
        ]


def is_gguf(path: str | os.PathLike[str]) -> bool:
    """Whether a path or an address is that of a GGUF file: it is called so, or is one whatever it is called."""
    name = os.fspath(path).partition("?")[0] if is_address(path) else os.fspath(path)
    if is_address(path) or not Path(path).is_file():
        return name.lower().endswith(".gguf") and not Path(path).is_dir()
    try:
        with Path(path).open("rb") as file:
            return name.lower().endswith(".gguf") or file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_gguf_source(files: Files, name: str) -> GGUFSource:
    """The model that the file `name` holds, or begins; the others of its set are in the same folder.

    GGUFError for what is no sound GGUF or a set that is not whole; CheckpointError, OutputError if it cannot be read.
    """
    folder, slash, own = name.rpartition("/")
    listed = None if files.connections else frozenset(files.names())  # a web server does not say what it has
    facts: dict[str, FileFacts] = {}

    def exists(name: str) -> bool:
        if listed is not None:
            return name in listed
        try:
            return bool(facts_of(name))
        except CheckpointError:
            return False

    def facts_of(name: str) -> FileFacts:
        return facts.get(name) or facts.setdefault(name, files.facts(folder + slash + name))

    def read(name: str) -> GGUFHeader:
        return read_header_among(files, facts_of(name), name)

    headers = read_whole_set(read(own), read, exists)
    return GGUFSource(own, files, tuple(facts[header.path] for header in headers), headers)


def _source_tensor(info: TensorInfo, number: int, header: GGUFHeader) -> SourceTensor:
    try:
        encoding = encoding_of(info.type)
    except ValueError:
        found = f"tensor {info.name} is {info.type.name}, whose weights deepgguf does not read"
        raise UsageError(header.path, found, "give a file in BF16, F16 or F32") from None
    return SourceTensor(info.name, info.shape, encoding, (Blob(number, header.data_offset + info.offset, info.nbytes),))
