"""What all files for Ollama share: types, and how they are run."""

from collections.abc import Mapping

from deepgguf.formats.gguf.types import GGMLType
from deepgguf.models.family import C, Target, TargetFile
from deepgguf.models.storage import ALWAYS_F32, BF16, CHOSEN, F16, F32, FROM_ANY_TO_F32, MATRIX, VISION
from deepgguf.models.table import FileKind
from deepgguf.recipes.choice import NO_EXCEPTIONS, Exceptions

# convert/reader.go, Kind.
_PLAIN: Mapping[str, Mapping[str, GGMLType]] = {
    ALWAYS_F32: FROM_ANY_TO_F32,
    MATRIX: {"BF16": BF16, "F16": F16, "F32": F16, "F8_E4M3": BF16},
    VISION: {"BF16": F16, "F16": F16, "F32": F16, "F8_E4M3": BF16},
}
# Ollama has 1 for every unquantized file.
_FILE_TYPES = {F32: 1, F16: 1, BF16: 1}


def ollama_target(text: TargetFile[C], exceptions: Exceptions = NO_EXCEPTIONS) -> Target[C]:
    """A target with one file, run by Ollama."""
    return Target({FileKind.TEXT: text}, _PLAIN, CHOSEN, _FILE_TYPES, _run, exceptions)


def _run(files: tuple[str, ...]) -> str:
    """Registers the file under a name of its own and runs it."""
    name = files[0].rpartition("/")[2].removesuffix(".gguf").lower()
    return f"echo 'FROM {files[0]}' > Modelfile && ollama create {name} -f Modelfile && ollama run {name}"
