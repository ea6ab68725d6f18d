"""What deepgguf cannot read: a tensor that may be dropped, but not converted."""

from typing import NoReturn

from deepgguf.encodings.encoding import Encoding, Floats, Range, Stored
from deepgguf.errors import CheckpointError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType


class Opaque(Encoding, frozen=True):
    """An unknown dtype, scales that do not fit their weights, scales without weights: `where`, `found`, `advice`.

    These are the words of the error if the tensor turns out to be needed. `stored_as` is a dtype that means
    nothing here by itself, but may to the model's table.
    """

    where: str
    found: str
    advice: str = ""
    stored_as: str = ""

    def refuse(self) -> NoReturn:
        """Raises the CheckpointError."""
        raise CheckpointError(self.where, self.found, self.advice)

    @property
    def plain(self) -> GGMLType:
        """Raises the CheckpointError."""
        self.refuse()

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """Raises the CheckpointError."""
        self.refuse()

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Raises the CheckpointError."""
        self.refuse()
