"""Whether a node of a cluster can read what its tasks will need."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from deepgguf.errors import DeepggufError, OutputError
from deepgguf.files.files import FileFacts, Files

_PROBED = 1  # byte of a file
_ADVICE = (
    "put the source where every node sees it by the same path, "
    "or give it by an address (hf:, s3://) for which every node has the credentials"
)


class Probe(NamedTuple):
    """Files, and what is known of those that will be read."""

    files: Files
    facts: tuple[FileFacts, ...]

    def unreadable(self) -> str:
        """Why one of them cannot be read from here, or is another; "" if all can. Of a network the first is asked."""
        try:
            with self.files as files:
                for file in self.facts[:1] if files.connections else self.facts:
                    files.read(file, 0, min(_PROBED, file.size))
        except DeepggufError as error:
            return f"{self.files.place}/{error.where}: {error.found}"
        return ""


class SeenFile(NamedTuple):
    """A file of this machine as every node must see it."""

    path: str
    inode: int
    size: int
    changed: int

    @classmethod
    def at(cls, path: str) -> "SeenFile":
        """That at `path`; OSError if there is none."""
        facts = Path(path).stat()
        return cls(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)

    def unreadable(self) -> str:
        """See `Probe.unreadable`."""
        try:
            return "" if SeenFile.at(self.path) == self else f"{self.path}: another file is there"
        except OSError as error:
            return f"{self.path}: {error.strerror}"


def refuse_unreadable(unreadable: Mapping[str, str]) -> None:
    """OutputError that names the first node with a reason why it cannot read the source."""
    for node, why in sorted(unreadable.items()):
        if why:
            raise OutputError(f"node {node}", f"cannot read {why}", _ADVICE)
