"""A model's table: a row for every tensor of the checkpoint, or for a tensor of every expert, and what it becomes."""

import enum
from collections.abc import Iterator, Mapping

import msgspec

from deepgguf.choices import FileKind
from deepgguf.encodings.encoding import Encoding
from deepgguf.tensors.view import Shape, View


class Kind(enum.Enum):
    """What a tensor is for: how targets store it and what samples fill it with follow from this."""

    VOCABULARY = "a row for every token: the embedding or the output matrix"
    LINEAR = "a matrix of the language model, quantized in FP8 checkpoints"
    NORM = "the weights of a norm"
    ROUTER = "the matrix that scores experts"
    ROUTER_BIAS = "what is added to the scores of experts"
    MATRIX = "a matrix of an encoder or a projector"
    CONVOLUTION = "the kernels of a convolution"
    PATCH = "the kernels of SAM's patch embedding"
    POSITIONS = "a table of positions"
    BIAS = "a bias"
    IDS = "the numbers of every token's experts"
    STREAMS = "weights of hyper-connections"
    VECTOR = "any other vector"


class Part(enum.Enum):
    """Where a tensor belongs, which decides in which files it is kept."""

    TRUNK = "the model without layers of multi-token prediction"
    MTP = "a layer of multi-token prediction"
    BOTH = "the embedding and the head, which a file of MTP layers alone needs too"


class Output(msgspec.Struct, frozen=True, gc=False):
    """A tensor of a target's file: its name, what it takes of the source, how it is stored, and in which file.

    `storage` is a key of the target's tables of types (see models.storage). `same_input` names tensors, perhaps of
    other layouts, that multiply the same vectors, so that an importance matrix's data of one serve all; if its own name
    is among them, all matrices of the stack do.
    """

    name: str
    view: View
    storage: str
    file: FileKind = "text"
    same_input: tuple[str, ...] = ()


class Row(msgspec.Struct, frozen=True, gc=False):
    """A tensor of the checkpoint: its name, kind and shape (row-major).

    `outputs`: what each target makes of it; nothing, where it is left out. With `experts`, the row stands for a tensor
    of every expert; "{}" in `source` is the expert's number. Their outputs are stacked along a new first dimension.
    With `members` it stands for a tensor of each, "{}" being its name; their rows follow each other in the outputs.
    An `optional` tensor may be missing, and then is not in the files either: the engines take another in its place.
    `form` is how its sources are read, where their dtype does not say that. `beside` is a tensor of the same
    shape whose rows continue this one's in the outputs.
    """

    source: str
    kind: Kind
    shape: Shape
    outputs: Mapping[str, tuple[Output, ...]]
    experts: int = 0
    members: tuple[str, ...] = ()
    part: Part = Part.TRUNK
    optional: bool = False
    form: Encoding | None = None
    beside: str = ""

    @property
    def sources(self) -> Iterator[str]:
        """The names in the checkpoint, by expert."""
        if not self.experts and not self.members:
            return iter((self.source,))
        before, after = self.source.split("{}")
        return (f"{before}{one}{after}" for one in self.members or range(self.experts))

    @property
    def names(self) -> Iterator[str]:
        """The names of all that it takes."""
        yield from self.sources
        if self.beside:
            yield self.beside

    def output_shape(self, output: Output) -> Shape:
        """The shape of one of its outputs, row-major."""
        if self.members:
            rows, *others = output.view.shape
            return (len(self.members) * rows, *others)
        return (self.experts, *output.view.shape) if self.experts else output.view.shape
