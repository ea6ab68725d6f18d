"""Numbers of experts, which are no weights: tables that name the experts of every token (DeepSeek-V4, first layers)."""

import numpy as np

from deepgguf.encodings.encoding import Bytes, Counts, Encoding, Floats, Range, Stored
from deepgguf.encodings.plain import Plain
from deepgguf.errors import CheckpointError
from deepgguf.executors.buffers import Buffers
from deepgguf.formats.gguf.types import GGMLType

_BYTES = 8


class I32(Plain, frozen=True):
    """Elements of I32, as files have them."""

    type = GGMLType.I32
    element = "<i4"

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """Copied, as numbers are no weights: a GGUF source has them in the type that files have."""
        if type is not self.type:
            raise ValueError(f"{stored.tensor}: {self.type.name} cannot become {type.name}")
        (out[:],) = stored.blobs
        return Counts()


class ExpertIds(Encoding, frozen=True):
    """I64, each from 0 to below `experts`: another one makes the engine abort (ggml-cpu, mul_mat_id)."""

    dtype = "I64"

    experts: int

    @property
    def plain(self) -> GGMLType:
        """I32."""
        return GGMLType.I32

    @property
    def working(self) -> int:
        """A flag for each, while they are checked."""
        return 1

    def ranges(self, cols: int, first: int, rows: int) -> tuple[Range, ...]:
        """The rows' numbers."""
        return (Range(first * cols * _BYTES, rows * cols * _BYTES),)

    def decode(self, stored: Stored, type: GGMLType, out: Bytes) -> Counts:
        """The numbers as I32; CheckpointError for one that no expert has."""
        ids = stored.blobs[0].view("<u8")  # negative ones are large
        if ids.max(initial=0) >= self.experts:
            row, column = divmod(int((ids >= self.experts).argmax()), stored.cols)
            wrong = int(ids.view("<i8")[row * stored.cols + column])
            found = f"row {stored.first + row}, column {column} is expert {wrong}, expected 0 to {self.experts - 1}"
            raise CheckpointError(f"tensor {stored.tensor}", found, "download the shard again")
        out.view("<i4")[:] = ids
        return Counts()

    def values(self, stored: Stored, buffers: Buffers) -> Floats:
        """Exact, as there are far fewer experts than float32 has whole numbers."""
        return stored.blobs[0].view("<i8").astype(np.float32).reshape(stored.rows, stored.cols)
