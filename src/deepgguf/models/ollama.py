"""What all files for Ollama share: types."""

from collections.abc import Callable, Mapping

from deepgguf.formats.gguf.types import GGMLType
from deepgguf.models.family import C, Target, TargetFile
from deepgguf.models.storage import ALWAYS_F32, BF16, F16, F32, FROM_ANY_TO_F32, MATRIX, PACKED_FILE_TYPES, VISION
from deepgguf.recipes.choice import NO_EXCEPTIONS, Exceptions

# convert/reader.go, Kind.
_PLAIN: Mapping[str, Mapping[GGMLType, GGMLType]] = {
    ALWAYS_F32: FROM_ANY_TO_F32,
    MATRIX: {BF16: BF16, F16: F16, F32: F16},
    VISION: {BF16: F16, F16: F16, F32: F16},
}
# Ollama has 1 for every unquantized file.
_FILE_TYPES = {F32: 1, F16: 1, BF16: 1, **PACKED_FILE_TYPES}


def ollama_target(
    text: TargetFile[C],
    exceptions: Exceptions = NO_EXCEPTIONS,
    limits: Callable[[C], tuple[str, ...]] = lambda config: (),
) -> Target[C]:
    """A target with one file, run by Ollama."""
    return Target({"text": text}, _PLAIN, _FILE_TYPES, exceptions, limits)
