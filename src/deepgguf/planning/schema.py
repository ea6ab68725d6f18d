"""The plan as data. It can be written as JSON and says everything that decides the output's bytes."""

import msgspec

from deepgguf.files.local import SourceFile
from deepgguf.formats.gguf.types import GGMLType, TensorInfo, Value
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import View

SCHEMA = 1

# Weights of a piece: with source, intermediate and output it stays within a core's share of the cache.
PIECE_WEIGHTS = 1 << 19


class PlannedTensor(msgspec.Struct, frozen=True):
    """An output tensor: its sources one after the other, of each the rows `rows`.

    `info.shape` is row-major. `plain_type` is the type without quantization. `note`
    says why a quantized file keeps this tensor in another type than its recipe's; `weighted`, whether its quantization
    uses the importance matrix.
    """

    info: TensorInfo
    rows: View
    sources: tuple[SourceTensor, ...]
    plain_type: GGMLType
    note: str = ""
    weighted: bool = False

    @property
    def weights(self) -> int:
        """Number of elements."""
        return self.rows.elements * len(self.sources)

    @property
    def dtype(self) -> str:
        """What safetensors call the elements of its sources, which are alike."""
        return self.sources[0].encoding.dtype


class PlannedFile(msgspec.Struct, frozen=True):
    """An output file: its header's keys and bytes, and its tensors in file order. `size` and `data_offset` in bytes."""

    name: str
    kind: str
    keys: dict[str, Value]
    tensors: tuple[PlannedTensor, ...]
    data_offset: int
    size: int


class Dropped(msgspec.Struct, frozen=True):
    """Source tensors left out for one reason: how many (scales counted apart), their bytes, the first one's name."""

    reason: str
    tensors: int
    scales: int
    nbytes: int
    example: str


class Plan(msgspec.Struct, frozen=True):
    """A conversion, complete. `type` is what was asked for.

    Pieces have about `piece_weights`; the bytes do not depend on it, their digests do.
    """

    source: str
    name: str
    target: str
    architecture: str
    type: str
    sources: tuple[SourceFile, ...]
    files: tuple[PlannedFile, ...]
    dropped: tuple[Dropped, ...]
    warnings: tuple[str, ...]
    run: str
    piece_weights: int = PIECE_WEIGHTS
    schema: int = SCHEMA

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def scales_paired(self) -> int:
        """Source tensors that have scales beside their weights."""
        planned = (tensor for file in self.files for tensor in file.tensors)
        return len({source.name for tensor in planned for source in tensor.sources if len(source.blobs) > 1})
