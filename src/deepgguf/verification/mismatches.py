"""The wrong weights of a tensor, gathered slice by slice: per source the first wrong weight, and how many."""

import math
from collections.abc import Iterator

import msgspec

from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Squares
from deepgguf.encodings.quantized import Quantized
from deepgguf.errors import printable
from deepgguf.verification.counterparts import Counterpart
from deepgguf.verification.each_once import Checked
from deepgguf.verification.equality import Equality
from deepgguf.verification.report import Difference


class Wrong(msgspec.Struct, frozen=True):
    """Wrong weights of one slice: the first one's head (-1: none), row and column in the tensor, and how many."""

    head: int
    row: int
    column: int
    count: int
    expected: str
    found: str


class Outcome(Checked, frozen=True, gc=False):
    """What came of a slice of the pair number `number`, made of its source number `source`.

    `equality` is None where equal weights are not counted.
    """

    source: int
    wrong: Wrong | None
    squares: Squares | None
    equality: Equality | None = None


class Mismatches:
    """The wrong weights of one tensor, by source (expert)."""

    def __init__(self, pair: Counterpart, advice: str = "") -> None:
        """`advice` is given where weights are further from the source than they may be."""
        self._pair, self._advice = pair, advice
        self._first: dict[int, Wrong] = {}
        self._count: dict[int, int] = {}
        self._squares: dict[int, Squares] = {}

    def add(self, outcome: Outcome) -> None:
        """Notes the outcome of one slice."""
        source, wrong, squares = outcome.source, outcome.wrong, outcome.squares
        if wrong:
            self._count[source] = self._count.get(source, 0) + wrong.count
            first = self._first.get(source)
            if first is None or (wrong.head, wrong.row) < (first.head, first.row):
                self._first[source] = wrong
        if squares:
            self._squares[source] = squares.plus(self._squares.get(source, Squares()))

    def differences(self) -> Iterator[Difference]:
        """One per source with wrong weights, or with errors that are too large as a whole."""
        weights = math.prod(self._pair.sources[0].shape)
        bounded = bool(self._squares)
        for source, first in sorted(self._first.items()):
            outside = "are further from the source than a right quantizer leaves them" if bounded else "differ"
            text = f"{self._count[source]:,} of {weights:,} weights {outside}{self._advice if bounded else ''}"
            where = f"{self._where(source, first.head)}, row {first.row}, column {first.column}"
            yield Difference(where, text, first.expected, first.found)
        encoding = encoding_of(self._pair.tensor.type)
        largest = encoding.largest_rms if isinstance(encoding, Quantized) else 0.0
        for source, squares in sorted(self._squares.items()):
            relative = squares.relative_rms
            if source not in self._first and not relative <= largest:
                fault = f"; {encoding.weakness}" if isinstance(encoding, Quantized) and encoding.weakness else ""
                text = f"root mean square of the errors over that of the weights{self._advice}{fault}"
                yield Difference(self._where(source, -1), text, f"at most {largest}", f"{relative:.3g}")

    def _where(self, source: int, head: int) -> str:
        expert = f", expert {source}" if len(self._pair.sources) > 1 else ""
        return f"tensor {printable(self._pair.tensor.name)}{expert}" + (f", head {head}" if head >= 0 else "")
