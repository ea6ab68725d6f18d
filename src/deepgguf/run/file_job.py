"""A file that is to be made."""

from typing import NamedTuple

from deepgguf.planning.numbering import Numbering
from deepgguf.planning.schema import PlannedFile
from deepgguf.run.journal import JournalHeader
from deepgguf.run.paths import Paths


class FileJob(NamedTuple):
    """A file that is to be made: its names, its plan, the numbers of its pieces, and the head of its journal."""

    paths: Paths
    file: PlannedFile
    numbering: Numbering
    header: JournalHeader
