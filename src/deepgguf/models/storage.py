"""The ways of storing a tensor unquantized; each target has a table of types for them (`llamacpp.py`, `ollama.py`)."""

from collections.abc import Collection, Mapping

from deepgguf.encodings.encoding import Encoding
from deepgguf.formats.gguf.types import FileType, GGMLType, block_of

F32, F16, BF16, I32 = GGMLType.F32, GGMLType.F16, GGMLType.BF16, GGMLType.I32

# VISION: a matrix of a vision encoder, where Ollama wants F16. PATCH: SAM's patch embedding, which llama.cpp stores as
# F16 in an F16 file and as F32 in any other. IDS: numbers of experts.
ALWAYS_F32 = "always F32"
MATRIX = "matrix"
VISION = "vision matrix"
PATCH = "SAM's patch embedding"
IDS = "numbers of experts"

# general.file_type of a file most of whose weights were taken over as blocks.
PACKED_FILE_TYPES = {
    GGMLType.Q4_0: FileType.Q4_0.value,
    GGMLType.Q8_0: FileType.Q8_0.value,
    GGMLType.MXFP4: FileType.MXFP4_MOE.value,
}

FROM_ANY_TO_F32 = dict.fromkeys((F32, F16, BF16), F32)

# What a choice of type becomes, for every target.
_AS_CHOSEN = {F32: F32, F16: F16, BF16: BF16}
CHOSEN: Mapping[str, Mapping[GGMLType, GGMLType]] = {
    ALWAYS_F32: FROM_ANY_TO_F32,
    MATRIX: _AS_CHOSEN,
    VISION: _AS_CHOSEN,
    PATCH: {F32: F32, F16: F16, BF16: F32},
    IDS: dict.fromkeys((F32, F16, BF16, I32), I32),
}


def exact_type(storage: str, forms: Collection[Encoding], row: int, *, transposed: bool) -> GGMLType:
    """The smallest type that holds weights of these `forms` as they are, in rows of `row`.

    Transposed ones leave the blocks that they have in the source.
    """
    packed = {form.packs_as for form in forms}
    type = packed.pop() if len(packed) == 1 and storage == MATRIX and not transposed else None
    if type is not None and row % block_of(type).weights == 0:
        return type
    return CHOSEN[storage][widest({form.exact_plain for form in forms})]


def widest(types: Collection[GGMLType]) -> GGMLType:
    """The plain type that holds every value of `types`: neither F16 nor BF16 holds the other's."""
    return next(iter(types)) if len(types) == 1 else F32
