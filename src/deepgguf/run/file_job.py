"""What is to be made: plans and where their files go, and each of the files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from deepgguf.formats.json_bytes import utf8_text
from deepgguf.planning.identity import file_identity
from deepgguf.planning.numbering import Numbering
from deepgguf.planning.schema import Plan, PlannedFile
from deepgguf.run.address import Place
from deepgguf.run.journal import JournalHeader
from deepgguf.run.paths import Paths
from deepgguf.run.settings import Settings
from deepgguf.version import __version__


class Placed(NamedTuple):
    """A plan, and the folder of its files."""

    plan: Plan
    folder: Place


class Output(NamedTuple):
    """A plan, and how it is carried out; plans that are carried out together differ in their folders only."""

    plan: Plan
    settings: Settings


class FileJob(NamedTuple):
    """A file that is to be made: its final name, its plan, the numbers of its pieces, and the head of its journal."""

    final: Place
    file: PlannedFile
    numbering: Numbering
    header: JournalHeader

    @property
    def paths(self) -> Paths:
        """The names beside the final one, of a file of this machine."""
        assert isinstance(self.final, Path)
        return Paths(self.final)


def without_twins(placed: Sequence[Placed]) -> tuple[Plan, ...]:
    """The plans without the files that one before them has just so, under the same name: an mmproj fits every type."""
    seen: dict[Place, PlannedFile] = {}

    def is_first(folder: Place, file: PlannedFile) -> bool:
        first = seen.setdefault(folder / file.name, file)
        return first is file or first != file

    return tuple(
        msgspec.structs.replace(plan, files=tuple(file for file in plan.files if is_first(folder, file)))
        for plan, folder in placed
    )


def jobs_of(plan: Plan, folder: Place) -> tuple[FileJob, ...]:
    """The files of `plan`, to be made in `folder`."""
    versions = tuple((utf8_text(source.name), source.version) for source in plan.sources)
    address = plan.source.place if plan.source.connections else ""
    return tuple(
        FileJob(
            folder / file.name,
            file,
            Numbering(file, plan.piece_weights),
            JournalHeader(file_identity(plan, file), versions, __version__, source=address),
        )
        for file in plan.files
    )
