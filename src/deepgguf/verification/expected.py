"""What a file must be if it came of its source by the choices that it names, as data from who planned it again."""

from collections.abc import Mapping

import msgspec

from deepgguf.checkpoint.importance import ImportanceFile, TensorImportance
from deepgguf.files.files import FileFacts, Files
from deepgguf.formats.gguf.types import TensorInfo, Value
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.verification.counterparts import Origin
from deepgguf.verification.report import Difference


class ExpectedFile(msgspec.Struct, frozen=True):
    """A file as it is planned: its keys and tensors in order, the bytes of its header, and its size in bytes."""

    keys: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    header: bytes
    size: int


class SourceFiles(msgspec.Struct, frozen=True):
    """The source that a file is compared with: its name, its files, and by number those that hold weights.

    `tied` are its tensors where the head is left out for being the token embedding.
    """

    name: str
    files: Files
    numbered: tuple[FileFacts, ...]
    tied: Mapping[str, SourceTensor] = {}


class Expected(msgspec.Struct, frozen=True):
    """Everything that a file or a split set is compared with.

    `other_model` is what is wrong, and all that is here, if the source does not become a file of this architecture.
    `origins` say what every tensor is made of. `type` is the one that was asked for, of which `chosen` tensors differ;
    `dropped` counts by reason what of the source is in no file; `patched` are the keys that a patch has set or removed.
    `importance` has what tensors were quantized by; `importance_file` their values, None if these are not at hand.
    """

    source: SourceFiles
    other_model: Difference | None = None
    origins: Mapping[str, Origin] = {}
    files: tuple[ExpectedFile, ...] = ()
    target: str = ""
    type: str = ""
    chosen: int = 0
    dropped: Mapping[str, int] = {}
    patched: tuple[str, ...] = ()
    importance: Mapping[str, TensorImportance] = {}
    importance_file: ImportanceFile | None = None
