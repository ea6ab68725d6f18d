"""Everything that can be wrong, as one small tree; every error is one line that says where, what, and what to do.

DeepggufError
├── CheckpointError       the checkpoint is at fault: a file, a tensor, a key
│   ├── ChangedError      a file of it is another one than before; what was written stays
│   └── NonFiniteError    NaN or Inf among the weights, or a number too large for the output's type
├── UsageError            wrong arguments, or the output exists
├── GGUFError             a GGUF file is not what it says it is
├── VerificationError     an output differs from its source
└── OutputError           input or output failed, or the disk is full; the run can be resumed

An error names a choice of the caller as Python has it, between backticks: `type`, `resume=True`, `type="bf16"`. The
command line puts its flag there instead: --type, --resume, --type bf16 (deepgguf.cli.flags). What is found of a choice
may be the rest of a sentence that begins with it: `resume` contradicts `restart`.
"""

import re
from pathlib import PurePath

_SHOWN = 300
_CHOICE = re.compile(r"`[^`]*`")
# Words that continue a sentence whose subject is the choice; anything else follows a colon.
_PREDICATE = re.compile(
    r"(?:is|must|cannot|needs|has no|contradicts|names|chooses|makes|moves|restores|would|contains|left)\b"
)


def printable(text: object, limit: int = _SHOWN) -> str:
    """`text` for a terminal: control, bidirectional, separator and other invisible characters escaped, cut to `limit`.

    Names come from files that a stranger made; they must not move the cursor or reverse the text.
    """
    shown = str(text)
    if len(shown) > limit:
        shown = f"{shown[:limit]}… ({len(shown)} characters)"
    return "".join(c if c.isprintable() else _escape(c) for c in shown)


def _escape(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" if ord(c) < 65536 else f"\\U{ord(c):08x}"


class DeepggufError(Exception):
    """Anything that deepgguf refuses, with the place, the fact and the way out in one line.

    `where` names file, tensor or key; `found` says what is there and what was expected; `advice` what to do next. All
    three are printable. The error has no other state, so that an error of any class can be pickled.
    """

    def __init__(self, where: object, found: str, advice: str = "") -> None:
        place = str(where)
        if isinstance(where, PurePath) and len(place) > _SHOWN:
            place = f"…{place[1 - _SHOWN :]}"  # the end of a path says more than its beginning
        super().__init__(printable(place), printable(found, 1000), printable(advice, 1000))

    @property
    def where(self) -> str:
        """The file, tensor, key or choice."""
        return str(self.args[0])

    @property
    def found(self) -> str:
        """What is there, and what was expected."""
        return str(self.args[1])

    @property
    def advice(self) -> str:
        """What to do next; "" if that is plain."""
        return str(self.args[2])

    def __str__(self) -> str:
        """All on one line."""
        is_sentence = _CHOICE.fullmatch(self.where) and _PREDICATE.match(self.found)
        return f"{self.where}{'' if is_sentence else ':'} {self.found}" + (f"; {self.advice}" if self.advice else "")

    def __reduce__(self) -> tuple[object, ...]:
        """As it is: __init__ would shorten again what it has shortened already."""
        return _unpickled, (type(self), *self.args), self.__dict__ or None


def _unpickled(type: type[DeepggufError], *texts: str) -> DeepggufError:
    return type.__new__(type, *texts)


class CheckpointError(DeepggufError):
    """The checkpoint is at fault: damaged, incomplete, contradictory, or of a kind that deepgguf does not know."""


class ChangedError(CheckpointError):
    """A file of the checkpoint is no longer the one that was planned with; what was written of it stays."""


class NonFiniteError(CheckpointError):
    """NaN or Inf among the weights, or a finite weight that the output's type cannot hold."""


class UsageError(DeepggufError):
    """What was asked for makes no sense, is not there yet, or would replace something."""


class GGUFError(DeepggufError):
    """A GGUF file is not what the format says, or what its header says."""


class VerificationError(DeepggufError):
    """An output is not what its source makes."""


class OutputError(DeepggufError):
    """Reading or writing failed, or the disk is full; what was written stays, and the run can be resumed."""
