"""The names that belong to one output file."""

from pathlib import Path

import msgspec

from deepgguf.formats.manifest import manifest_path


class Paths(msgspec.Struct, frozen=True):
    """`final` is the name that a file gets when it is complete; the others stand beside it."""

    final: Path

    @property
    def part(self) -> Path:
        """The file while it is written."""
        return self.final.with_name(self.final.name + ".part")

    @property
    def journal(self) -> Path:
        """Which pieces of the part are on the medium."""
        return self.final.with_name(self.final.name + ".part.journal")

    @property
    def manifest(self) -> Path:
        """The hashes, beside the finished file."""
        return manifest_path(self.final)

    @property
    def manifest_part(self) -> Path:
        """The hashes until the file has its final name."""
        return self.final.with_name(self.final.name + ".json.part")

    @property
    def left(self) -> tuple[Path, ...]:
        """What an interrupted run may leave."""
        return self.part, self.journal, self.manifest_part
