"""Everything that can be wrong, as one small tree; every error is one line that names where, what, and what to do.

DeepggufError             exit status
├── CheckpointError       1   the checkpoint is at fault: a file, a tensor, a key
│   └── NonFiniteError    1   NaN or Inf in weights, or a number too large for the output's type
├── UsageError            2   wrong arguments, or the output exists
├── GGUFError             3   a GGUF file is not what it says it is
├── VerificationError     3   an output differs from its source
└── OutputError           4   input or output failed, the disk is full; the run can be taken up again
"""

from pathlib import PurePath
from typing import ClassVar

_SHOWN = 300


def printable(text: object, limit: int = _SHOWN) -> str:
    """`text` for a terminal: control, bidirectional, separator and other invisible characters escaped, cut to `limit`.

    Names come from files that a stranger made; what they hold must not move the cursor or turn the text around.
    """
    shown = str(text)
    if len(shown) > limit:
        shown = f"{shown[:limit]}… ({len(shown)} characters)"
    return "".join(c if c.isprintable() else _escape(c) for c in shown)


def _escape(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" if ord(c) < 65536 else f"\\U{ord(c):08x}"


class DeepggufError(Exception):
    """Anything that deepgguf refuses, with the place, the fact and the way out in one line.

    `where` names file, tensor or key; `found` says what is there and what was expected; `advice` what to do next.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, where: object, found: str, advice: str = "") -> None:
        place = str(where)
        if isinstance(where, PurePath) and len(place) > _SHOWN:
            place = f"…{place[1 - _SHOWN :]}"  # a path's end tells more than its begin
        self.where, self.found, self.advice = printable(place), printable(found, 1000), printable(advice, 1000)
        super().__init__(f"{self.where}: {self.found}" + (f"; {self.advice}" if advice else ""))


class CheckpointError(DeepggufError):
    """The checkpoint is at fault: damaged, incomplete, contradictory, or of a kind that deepgguf does not know."""


class NonFiniteError(CheckpointError):
    """NaN or Inf among the weights, or a finite weight that the output's type cannot hold."""


class UsageError(DeepggufError):
    """What was asked for makes no sense, is not there yet, or would replace something."""

    exit_status = 2


class GGUFError(DeepggufError):
    """A GGUF file is not what the format says, or what its header says."""

    exit_status = 3


class VerificationError(DeepggufError):
    """An output is not what its source makes."""

    exit_status = 3


class OutputError(DeepggufError):
    """Reading or writing failed, or the disk is full; what was written stays, and the run can be taken up again."""

    exit_status = 4
