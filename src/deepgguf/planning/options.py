"""What the user may ask for, checked as far as no checkpoint is needed."""

import msgspec

from deepgguf.checkpoint.importance import ImportanceMatrix
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.recipes.patterns import TypePattern
from deepgguf.recipes.recipe import RECIPES, Recipe

TARGETS = ("ollama", "llama.cpp")
PLAIN_TYPES = {"f32": GGMLType.F32, "f16": GGMLType.F16, "bf16": GGMLType.BF16}
TYPES = ("auto", *PLAIN_TYPES, *RECIPES)
FILE_KINDS = ("text", "mmproj")

# Choices that only a quantized file has, and their flags.
_FLAGS = {
    "patterns": "--tensor-type",
    "output_type": "--output-tensor-type",
    "token_embedding_type": "--token-embedding-type",
    "importance": "--imatrix",
}


class Options(msgspec.Struct, frozen=True):
    """A conversion's choices.

    `type` is one of TYPES. `output` is the file name of the text file ("" for the default), `folder` where it goes, for
    the command that runs it. `only` is a file kind, or
    "" for all. `split_max_size` (bytes) and `split_max_tensors` are 0 for no limit.
    """

    target: str = "ollama"
    type: str = "auto"
    output: str = ""
    folder: str = "."
    only: str = ""
    split_max_size: int = 0
    split_max_tensors: int = 0
    patterns: tuple[TypePattern, ...] = ()
    output_type: GGMLType | None = None
    token_embedding_type: GGMLType | None = None
    importance: ImportanceMatrix | None = None

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of a quantized type."""
        return RECIPES.get(self.type)

    @property
    def plain_type(self) -> GGMLType | None:
        """The type chosen for every matrix of an unquantized file."""
        return PLAIN_TYPES.get(self.type)


def check_options(options: Options) -> None:
    """UsageError for a combination that makes no sense."""
    if options.target not in TARGETS:
        raise UsageError("--target", f"{options.target!r} is unknown", f"choose from {', '.join(TARGETS)}")
    if options.type not in TYPES:
        raise UsageError("--type", f"{options.type!r} is unknown", f"choose from {', '.join(TYPES)}")
    if options.only and options.only not in FILE_KINDS:
        raise UsageError("--only", f"{options.only!r} is unknown", f"choose from {', '.join(FILE_KINDS)}")
    if options.recipe is None:
        for name in _FLAGS:
            if getattr(options, name):
                raise UsageError(_FLAGS[name], f"has no meaning for --type {options.type}", "choose a quantized --type")
    if options.split_max_size < 0:
        raise UsageError("--split-max-size", "is negative", "give a size such as 48G")
    if options.split_max_tensors < 0:
        raise UsageError("--split-max-tensors", "is negative", "give a number of tensors")
