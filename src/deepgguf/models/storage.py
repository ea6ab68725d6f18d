"""The ways of storing a tensor unquantized; each target has a table of types for them (`llamacpp.py`, `ollama.py`)."""

from collections.abc import Collection, Mapping

from deepgguf.formats.gguf.types import GGMLType

F32, F16, BF16, I32 = GGMLType.F32, GGMLType.F16, GGMLType.BF16, GGMLType.I32

# VISION: a matrix of a vision encoder, where Ollama wants F16. PATCH: SAM's patch embedding, which llama.cpp stores as
# F16 in an F16 file and as F32 in any other. IDS: numbers of experts.
ALWAYS_F32 = "always F32"
MATRIX = "matrix"
VISION = "vision matrix"
PATCH = "SAM's patch embedding"
IDS = "numbers of experts"

FROM_ANY_TO_F32 = dict.fromkeys((F32, F16, BF16), F32)

# What a choice of type becomes, for every target.
_AS_CHOSEN = {F32: F32, F16: F16, BF16: BF16}
CHOSEN: Mapping[str, Mapping[GGMLType, GGMLType]] = {
    ALWAYS_F32: FROM_ANY_TO_F32,
    MATRIX: _AS_CHOSEN,
    VISION: _AS_CHOSEN,
    PATCH: {F32: F32, F16: F16, BF16: F32},
    IDS: dict.fromkeys((F32, F16, BF16), I32),
}


def widest(types: Collection[GGMLType]) -> GGMLType:
    """The plain type that holds every value of `types`: neither F16 nor BF16 holds the other's."""
    return next(iter(types)) if len(types) == 1 else F32
