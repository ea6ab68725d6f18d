"""Every tensor of a file beside the source tensors that it is made of; what is missing, extra or of a wrong shape."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from deepgguf.choices import FileKind
from deepgguf.encodings import WRITTEN
from deepgguf.errors import printable
from deepgguf.formats.gguf.types import GGMLType, GGUFHeader, TensorInfo
from deepgguf.models.family import AnyTarget
from deepgguf.models.match import Matched, Model
from deepgguf.models.storage import ALWAYS_F32
from deepgguf.models.table import Output, Row
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import View
from deepgguf.verification.report import Difference


class Counterpart(msgspec.Struct, frozen=True):
    """A tensor of file number `file`, what it takes of its sources, and these, one per expert in a stack.

    `always_f32`: whether it is F32 in every file of its kind.
    """

    file: int
    tensor: TensorInfo
    view: View
    sources: tuple[SourceTensor, ...]
    always_f32: bool


class Counterparts(msgspec.Struct, frozen=True):
    """The target that the file was made for, and which file of its set it is; what can be compared, and what cannot."""

    target: AnyTarget
    kind: FileKind
    pairs: tuple[Counterpart, ...]
    differences: tuple[Difference, ...]


_Outputs = Mapping[str, tuple[Row, tuple[SourceTensor, ...], Output]]


def find_counterparts(headers: Sequence[GGUFHeader], model: Model) -> Counterparts | None:
    """Maps every tensor of the files back to the source; None if no target has files of this architecture.

    Where several have, the file is of the one that has most of its tensors: only Ollama's has kv_b unsplit.
    """
    value = headers[0].keys.get("general.architecture")
    found: list[tuple[AnyTarget, FileKind, _Outputs]] = [
        (target, kind, _outputs(model.matched, name, kind))
        for name, target in model.family.targets.items()
        for kind, file in target.files.items()
        if value is not None and file.architecture == value.value
    ]
    if not found:
        return None
    names = {tensor.name for header in headers for tensor in header.tensors}
    target, kind, outputs = max(found, key=lambda one: len(names & one[2].keys()))
    pairs: list[Counterpart] = []
    differences: list[Difference] = []
    for number, header in enumerate(headers):
        for tensor in header.tensors:
            pair = _counterpart(number, tensor, outputs)
            if isinstance(pair, Difference):
                differences.append(pair)
            else:
                pairs.append(pair)
    differences += _missing(outputs, names)
    return Counterparts(target, kind, tuple(pairs), tuple(differences))


def _outputs(matched: Matched, target: str, kind: FileKind) -> _Outputs:
    return {
        output.name: (row, sources, output)
        for row, sources in matched.rows
        for output in row.outputs.get(target, ())
        if output.file == kind
    }


def _counterpart(file: int, tensor: TensorInfo, outputs: _Outputs) -> Counterpart | Difference:
    where = f"tensor {printable(tensor.name)}"
    if tensor.name not in outputs:
        return Difference(where, "is extra: nothing in the source becomes a tensor of this name")
    row, sources, output = outputs[tensor.name]
    shape, always_f32 = row.output_shape(output), output.storage == ALWAYS_F32
    if tensor.shape != shape:
        return Difference(where, "the shape, row-major", f"{list(shape)}", f"{list(tensor.shape)}")
    if always_f32 and tensor.type is not GGMLType.F32:
        return Difference(where, "the type", "F32", tensor.type.name)
    if tensor.type not in WRITTEN:
        return Difference(where, "the type", "a type that deepgguf writes", tensor.type.name)
    return Counterpart(file, tensor, output.view, sources, always_f32)


def _missing(outputs: _Outputs, names: set[str]) -> Iterator[Difference]:
    for name, (row, _, _) in outputs.items():
        if name not in names:
            yield Difference(f"tensor {printable(name)}", f"is missing: it would be made of {printable(row.source)}")
