"""The plan as data, which can be pickled: it says everything that decides the output's bytes."""

from collections.abc import Sequence

import msgspec

from deepgguf.checkpoint.importance import ImportanceFile, TensorImportance
from deepgguf.choices import Mtp
from deepgguf.encodings import encoding_of
from deepgguf.encodings.encoding import Encoding
from deepgguf.encodings.plain import Plain
from deepgguf.encodings.quantized import Quantized
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.gguf.types import GGMLType, TensorInfo, Value
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import View

SCHEMA = 2

# Weights of a piece: with source, intermediate and output it stays within a core's share of the cache.
PIECE_WEIGHTS = 1 << 19


class OutputTensor(msgspec.Struct, frozen=True):
    """What becomes of a source tensor: the output, what it takes of the source, the importance of its columns.

    `info.shape` is row-major. `exact`: it is to have the source's weights as they are, not quantized anew.
    `direct`: those that are quantized are not rounded before as an unquantized file would have them.
    """

    info: TensorInfo
    view: View
    importance: TensorImportance | None
    exact: bool = False
    direct: bool = False

    @property
    def encoding(self) -> Plain | Quantized:
        """The form that it is written in."""
        return encoding_of(self.info.type)

    def rounds_first(self, source: Encoding) -> bool:
        """Whether weights stored as `source` are rounded to their plain type before they are quantized."""
        return source.rounds_first and not self.direct

    def repacks(self, source: Encoding) -> bool:
        """Whether it takes over what is stored as `source` without making numbers of it."""
        return not self.view.transposed and self.encoding.repacks(source, exact=self.exact)


class PlannedTensor(msgspec.Struct, frozen=True):
    """An output tensor: what `view` takes of each of its sources, one after the other.

    `info.shape` is row-major. `plain_type` is the type without quantization. `note` says why a quantized file keeps
    this tensor in another type than its recipe's. `importance` is what it is quantized by of the importance matrix.
    `direct` is as in `OutputTensor`.
    """

    info: TensorInfo
    view: View
    sources: tuple[SourceTensor, ...]
    plain_type: GGMLType
    note: str = ""
    importance: TensorImportance | None = None
    direct: bool = False

    @property
    def output(self) -> OutputTensor:
        """What becomes of each source."""
        return OutputTensor(self.info, self.view, self.importance, self.info.type is self.plain_type, self.direct)

    @property
    def forms(self) -> tuple[Encoding, ...]:
        """The forms of the sources, each once: experts of a stack may differ."""
        return forms_of(self.sources)

    @property
    def dtypes(self) -> str:
        """What the source calls the dtype of the weights, or each of them."""
        return ", ".join(dict.fromkeys(form.form.dtype for form in self.forms))

    @property
    def weights(self) -> int:
        """Number of elements."""
        return self.view.elements * len(self.sources)


def forms_of(sources: Sequence[SourceTensor]) -> tuple[Encoding, ...]:
    """The encodings of `sources`, each once, in their order."""
    same = {id(source.encoding): source.encoding for source in sources}  # few objects for thousands of sources
    return tuple(dict.fromkeys(same.values()))


class PlannedFile(msgspec.Struct, frozen=True):
    """An output file: its header's keys and bytes, and its tensors in file order. `size` and `data_offset` in bytes."""

    name: str
    kind: str
    keys: dict[str, Value]
    tensors: tuple[PlannedTensor, ...]
    data_offset: int
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.info.nbytes for tensor in self.tensors)

    @property
    def weights(self) -> int:
        """Weights of all tensors."""
        return sum(tensor.weights for tensor in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        """Bits of tensor data per weight."""
        return self.nbytes * 8 / max(1, self.weights)


class Dropped(msgspec.Struct, frozen=True):
    """Source tensors left out for one reason: how many (scales counted apart), their bytes, the first one's name."""

    reason: str
    tensors: int
    scales: int
    nbytes: int
    example: str


class Plan(msgspec.Struct, frozen=True):
    """A conversion, complete: what decides a byte is here. `type` is what was asked for, or the base of the recipe file
    that is called `recipe`.

    `sources` are the files of `source` that hold weights, by number. `mtp` says whether the layers of multi-token
    prediction are in the model's file, in none, or in a file of their own, which is this one. Pieces have about
    `piece_weights`; the bytes do not depend on it, their digests do.
    """

    source: Files
    name: str
    target: str
    architecture: str
    type: str
    sources: tuple[FileFacts, ...]
    files: tuple[PlannedFile, ...]
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    importance: ImportanceFile | None = None
    mtp: Mtp = "drop"
    recipe: str = ""
    piece_weights: int = PIECE_WEIGHTS
    schema: int = SCHEMA

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def importances(self) -> tuple[ImportanceFile | None, ...]:
        """The importance matrix of every file."""
        return (self.importance,) * len(self.files)

    @property
    def reads_once(self) -> bool:
        """Whether windows are read at once, each byte in one of them only, and not piece by piece as it is used."""
        return self.source.whole_windows

    @property
    def scales_paired(self) -> int:
        """How many source tensors that are used have scales beside them."""
        names = {s.name for file in self.files for t in file.tensors for s in t.sources if len(s.blobs) > 1}
        return len(names)
