"""Which unquantized type a tensor gets: three or four ways of storing, per target a table of types.

The tables are what Ollama's converter (convert/reader.go, Kind) and llama.cpp's (conversion/base.py, prepare_tensors)
make of each dtype.
"""

from collections.abc import Mapping

from deepgguf.formats.gguf.types import GGMLType

F32, F16, BF16 = GGMLType.F32, GGMLType.F16, GGMLType.BF16

# Ways of storing. VISION: a matrix of a vision encoder, where Ollama wants F16. PATCH: SAM's patch embedding, which
# llama.cpp stores as F16 in an F16 file and as F32 in any other.
ALWAYS_F32 = "always F32"
MATRIX = "matrix"
VISION = "vision matrix"
PATCH = "SAM's patch embedding"

_AS_CHOSEN = {F32: F32, F16: F16, BF16: BF16}
_F32 = dict.fromkeys(("BF16", "F16", "F32", "F8_E4M3"), F32)
_ALWAYS_F32 = dict.fromkeys(_AS_CHOSEN, F32)

OLLAMA_PLAIN: Mapping[str, Mapping[str, GGMLType]] = {
    ALWAYS_F32: _F32,
    MATRIX: {"BF16": BF16, "F16": F16, "F32": F16, "F8_E4M3": BF16},
    VISION: {"BF16": F16, "F16": F16, "F32": F16, "F8_E4M3": BF16},
}
LLAMACPP_PLAIN: Mapping[str, Mapping[str, GGMLType]] = {
    ALWAYS_F32: _F32,
    MATRIX: {"BF16": BF16, "F16": F16, "F32": F32, "F8_E4M3": BF16},
    PATCH: {"BF16": F32, "F16": F16, "F32": F32, "F8_E4M3": F32},
}
CHOSEN: Mapping[str, Mapping[GGMLType, GGMLType]] = {
    ALWAYS_F32: _ALWAYS_F32,
    MATRIX: _AS_CHOSEN,
    VISION: _AS_CHOSEN,
    PATCH: {F32: F32, F16: F16, BF16: F32},
}

# general.file_type (llama.h, enum llama_ftype); Ollama has 1 for every unquantized file.
LLAMACPP_FILE_TYPES: Mapping[GGMLType, int] = {F32: 0, F16: 1, BF16: 32}
OLLAMA_FILE_TYPES: Mapping[GGMLType, int] = {F32: 1, F16: 1, BF16: 1}
