"""The pieces of a file, numbered in the order of its bytes; journal and results name them by these numbers."""

from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from deepgguf.planning.pieces import Cut, Piece, cut, piece_at
from deepgguf.planning.schema import PlannedFile


class Place(NamedTuple):
    """Piece number `nth` of the file's tensor number `tensor`."""

    tensor: int
    nth: int


class Numbering:
    """The numbers of a file's pieces; nothing is stored for a piece, everything follows from its number."""

    def __init__(self, file: PlannedFile, piece_weights: int) -> None:
        self.file = file
        self.cuts: tuple[Cut, ...] = tuple(cut(tensor, piece_weights) for tensor in file.tensors)
        self._starts = [0, *accumulate(how.count for how in self.cuts)]

    @property
    def count(self) -> int:
        """How many pieces the file has."""
        return self._starts[-1]

    def number(self, place: Place) -> int:
        """The number of the piece at `place`."""
        return self._starts[place.tensor] + place.nth

    def place(self, number: int) -> Place:
        """The tensor that the piece belongs to, and its number there."""
        tensor = bisect_right(self._starts, number) - 1
        return Place(tensor, number - self._starts[tensor])

    def piece(self, place: Place) -> Piece:
        """The piece itself."""
        return piece_at(self.file.tensors[place.tensor], self.cuts[place.tensor], place.nth)

    def offset(self, place: Place) -> int:
        """The byte of the file at which the piece's data begin."""
        return self.tensor_start(place.tensor) + self.piece(place).offset

    def tensor_start(self, tensor: int) -> int:
        """The byte of the file at which the tensor's data begin."""
        return self.file.data_offset + self.file.tensors[tensor].info.offset
