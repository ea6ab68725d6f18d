"""What a stored form says of itself; who reads, writes, cuts, sizes or checks weights asks here and nowhere else."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from deepgguf import kernels
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.formats.safetensors import TensorHeader

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Range(NamedTuple):
    """`nbytes` bytes from byte `start` of a blob."""

    start: int
    nbytes: int


class Counts(NamedTuple):
    """Source weights that are NaN or infinite, and finite ones that the output's type made infinite."""

    nan: int = 0
    inf: int = 0
    overflow: int = 0

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(self.nan + other.nan, self.inf + other.inf, self.overflow + other.overflow)


class Squares(msgspec.Struct, frozen=True, gc=False):
    """Sums of squares over quantized weights: of the errors, and of the weights that they were made of."""

    error: float = 0.0
    weight: float = 0.0

    def plus(self, other: "Squares") -> "Squares":
        """Both together."""
        return Squares(self.error + other.error, self.weight + other.weight)

    @property
    def relative_rms(self) -> float:
        """√(Σ error² / Σ weight²)."""
        return float((self.error / self.weight) ** 0.5) if self.weight else 0.0


class Stored(NamedTuple):
    """Rows [first, first + rows) of a matrix with `cols` weights to a row, as they are stored: a buffer per blob.

    Each buffer holds what `Encoding.ranges` names; `tensor` is the tensor's name, for errors.
    """

    tensor: str
    first: int
    rows: int
    cols: int
    blobs: tuple[Bytes, ...]


class Claim(msgspec.Struct, frozen=True):
    """What tensors of a layer X a form of weights takes: X.`weights`, of one of `dtypes`, and its companions.

    `companions` are the names, after "X.", of the tensors that may belong to it, in the order of their blobs. `marks`
    are those by which it is told from other forms of such weights: all must be there, each of one of its dtypes.
    """

    weights: str
    dtypes: tuple[str, ...]
    companions: tuple[str, ...] = ()
    marks: Mapping[str, tuple[str, ...]] = {}

    def fits(self, layer: Mapping[str, TensorHeader]) -> bool:
        """Whether `layer`, by names after "X.", has these weights and these marks."""
        needed = {self.weights: self.dtypes, **self.marks}
        return all(part in layer and layer[part].dtype in dtypes for part, dtypes in needed.items())


class Encoding(msgspec.Struct, frozen=True, tag=True):
    """A stored form: how a tensor's weights lie in its blobs (the weights themselves first, then scales and the like).

    A form without parameters is one instance; FP8 is one for each size of block and dtype of scales. Instances are
    plain data: they compare by value, can be pickled, and go into the plan's identity.
    """

    dtype: ClassVar[str] = ""
    """What safetensors call the elements of the weights; empty for forms that no checkpoint has."""

    claims: ClassVar[tuple[Claim, ...]] = ()
    """What it takes of a layer; none for plain forms, which any tensor of their dtype has."""

    type: ClassVar[GGMLType | None] = None
    """Its number in a GGUF file; None for forms that only sources have."""

    @classmethod
    def describe(
        cls, weights: TensorHeader, beside: Sequence[TensorHeader], quantization: Mapping[str, object]
    ) -> "Encoding":
        """The form of the weights of a claim; `beside` are those of its companions that the checkpoint has.

        `quantization` is `quantization_config` of config.json with what it says of this layer, empty without one.
        CheckpointError if they do not fit together.
        """
        return cls()

    def logical_shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """The weights' shape, where the tensor that holds them has the shape `stored`: forms that pack have more."""
        return stored

    @property
    def plain(self) -> GGMLType:
        """F32, F16 or BF16: the type that an unquantized conversion gives such weights."""
        raise NotImplementedError

    @property
    def packs_as(self) -> GGMLType | None:
        """The type whose blocks hold its codes and scales as they are, so that `repack` can make them; None if none."""
        return None

    @property
    def always_packs(self) -> bool:
        """Whether quantizing to `packs_as` takes over codes and scales too, as that type has no others."""
        return False

    @property
    def exact_plain(self) -> GGMLType:
        """F32, F16 or BF16: the smallest of them that holds every weight."""
        return self.plain

    @property
    def rounds_by(self) -> str:
        """Which scales make `packs_as`, or else `exact_plain`, round their weights; empty where none can."""
        return ""

    @property
    def working(self) -> int:
        """Bytes that `decode` takes for each weight, besides blobs and output."""
        return 8

    @property
    def rounds_first(self) -> bool:
        """Whether a quantized conversion rounds to `plain` first, so that one pass gives what converting and
        quantizing give: not to the weights' own type, nor to F32, which change nothing.
        """
        return self.plain not in (GGMLType.F32, self.type)

    @property
    def scaling(self) -> str:
        """What shares a scale, in words for a plan; empty where there is nothing to say."""
        return ""

    @property
    def cut_rows(self) -> int:
        """Rows between two cuts that cost nothing: the height of FP8's blocks; 1 where any row will do."""
        return 1

    @property
    def cut_cols(self) -> int:
        """Columns between two cuts: the width of FP8's blocks; 1 where any column will do."""
        return 1

    @property
    def form(self) -> "Encoding":
        """Itself; for a part of a matrix, the form of the whole."""
        return self

    def repacks(self, source: "Encoding", *, exact: bool) -> bool:
        """Whether weights stored as `source` take this form without becoming numbers in between.

        `exact`: they are to stay as they are; else they are quantized as their conversion to `plain` would be.
        """
        packed = source.packs_as is not None and source.packs_as is self.type
        return source == self or (packed and (exact or source.always_packs))

    def repack(self, stored: Stored, out: Bytes) -> None:
        """The stored rows as the blocks of `packs_as`, into `out`; blocks of a type of GGUF are copied."""
        (out[:],) = stored.blobs

    def packed(self, stored: Stored) -> Bytes:
        """What `repack` must make, by NumPy from the definition of the blocks: verification holds it to this."""
        return stored.blobs[0]

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The bytes of each blob that rows [first, first + rows) need; a row has `cols` weights."""
        raise NotImplementedError

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """The rows as F32, F16 or BF16, rounded once to nearest even, into `out`.

        A form that is worth a kernel has its own way; this one is by `values`. Raises CheckpointError for scales that
        no quantizer makes, NonFiniteError for scales that are NaN or infinite.
        """
        values = np.ascontiguousarray(self.values(stored, Buffers()), np.float32)
        return Counts(*kernels.cast(values.reshape(-1).view(np.uint8), GGMLType.F32, out, type))

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """What the stored bits stand for: float32 [rows, cols], by NumPy from the format's definition.

        It shares no code with the kernels: verification and the tests hold them to it.
        """
        raise NotImplementedError
