"""Every tensor of a file beside the source tensors that it is made of; what is missing, extra or of a wrong shape."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from deepgguf.choices import FileKind
from deepgguf.errors import printable
from deepgguf.formats.gguf.types import GGMLType, GGUFHeader, TensorInfo
from deepgguf.models.family import AnyTarget
from deepgguf.models.match import Matched, Model
from deepgguf.models.table import Output, Row
from deepgguf.tensors.source_tensor import SourceTensor
from deepgguf.tensors.view import Shape, View
from deepgguf.verification.report import Difference


class Counterpart(msgspec.Struct, frozen=True):
    """A tensor of file number `file`, what it takes of its sources, and these, one per expert in a stack.

    `direct`: it was quantized from the weights as they are stored.
    """

    file: int
    tensor: TensorInfo
    view: View
    sources: tuple[SourceTensor, ...]
    direct: bool = False


class Origin(msgspec.Struct, frozen=True):
    """What a tensor is made of: its shape, what `view` takes of each of its `sources`; what the source calls it."""

    shape: Shape
    view: View
    sources: tuple[SourceTensor, ...]
    called: str
    direct: bool = False


class Layout(msgspec.Struct, frozen=True):
    """The target that a file was made for, by name and itself, which file of its set it is, and what it can hold."""

    name: str
    target: AnyTarget
    kind: FileKind
    outputs: Mapping[str, tuple[Row, tuple[SourceTensor, ...], Output]]

    def origins(self) -> dict[str, Origin]:
        """What its tensors are made of, by name."""
        return {
            name: Origin(row.output_shape(output), output.view, sources, row.source, self.target.direct)
            for name, (row, sources, output) in self.outputs.items()
        }


def find_layout(headers: Sequence[GGUFHeader], model: Model, target: str | None = None) -> Layout | None:
    """The layout of the files; None if no target, or not `target`, has files of this architecture.

    Where several have, the file is of the one that has most of its tensors: only Ollama's has kv_b unsplit.
    """
    value = headers[0].keys.get("general.architecture")
    found = [
        Layout(name, possible, kind, _outputs(model.matched, name, kind))
        for name, possible in model.family.targets.items()
        for kind, file in possible.files.items()
        if value is not None and file.architecture == value.value and target in (None, name)
    ]
    names = {tensor.name for header in headers for tensor in header.tensors}
    return max(found, key=lambda one: len(names & one.outputs.keys()), default=None)


def pair_up(
    headers: Sequence[GGUFHeader], origins: Mapping[str, Origin], types: Mapping[str, GGMLType]
) -> tuple[list[Counterpart], list[Difference]]:
    """Maps every tensor of the files back to the source: what can be compared, and what is wrong already.

    `types` are those that the tensors must have.
    """
    pairs: list[Counterpart] = []
    differences: list[Difference] = []
    for number, header in enumerate(headers):
        for tensor in header.tensors:
            pair = _counterpart(number, tensor, origins, types)
            if isinstance(pair, Difference):
                differences.append(pair)
            else:
                pairs.append(pair)
    names = {tensor.name for header in headers for tensor in header.tensors}
    return pairs, [*differences, *_missing(origins, names)]


def _outputs(
    matched: Matched, target: str, kind: FileKind
) -> Mapping[str, tuple[Row, tuple[SourceTensor, ...], Output]]:
    return {
        output.name: (row, sources, output)
        for row, sources in matched.rows
        for output in row.outputs.get(target, ())
        if output.file == kind
    }


def _counterpart(
    file: int, tensor: TensorInfo, origins: Mapping[str, Origin], types: Mapping[str, GGMLType]
) -> Counterpart | Difference:
    where = f"tensor {printable(tensor.name)}"
    if tensor.name not in origins:
        return Difference(where, "is extra: nothing in the source becomes a tensor of this name")
    origin, type = origins[tensor.name], types[tensor.name]
    if tensor.shape != origin.shape:
        return Difference(where, "the shape, row-major", f"{list(origin.shape)}", f"{list(tensor.shape)}")
    if tensor.type is not type:
        return Difference(where, "the type", type.name, tensor.type.name)
    return Counterpart(file, tensor, origin.view, origin.sources, origin.direct)


def _missing(origins: Mapping[str, Origin], names: set[str]) -> Iterator[Difference]:
    for name, origin in origins.items():
        if name not in names:
            yield Difference(f"tensor {printable(name)}", f"is missing: it would be made of {printable(origin.called)}")
