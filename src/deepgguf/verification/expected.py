"""What a file must be if it came of its source by the choices that it names, as data from who planned it again."""

from collections.abc import Mapping

import msgspec

from deepgguf.checkpoint.checkpoint import Checkpoint
from deepgguf.checkpoint.importance import ImportanceFile, TensorImportance
from deepgguf.formats.gguf.types import TensorInfo, Value
from deepgguf.models.match import Model
from deepgguf.verification.counterparts import Layout


class ExpectedFile(msgspec.Struct, frozen=True):
    """A file as it is planned: its keys and tensors in order, the bytes of its header, and its size in bytes."""

    keys: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    header: bytes
    size: int


class Expected(msgspec.Struct, frozen=True):
    """Everything that a file or a split set is compared with.

    `layout` is None, and nothing else is there, if no target makes files of this architecture of the source. `type` is
    the one that was asked for, of which `chosen` tensors differ. `importance` has what tensors were quantized
    by; `importance_file` their values, None if these are not at hand.
    """

    checkpoint: Checkpoint
    model: Model
    layout: Layout | None = None
    files: tuple[ExpectedFile, ...] = ()
    type: str = ""
    chosen: int = 0
    importance: Mapping[str, TensorImportance] = {}
    importance_file: ImportanceFile | None = None
