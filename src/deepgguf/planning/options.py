"""What the user may ask for, checked as far as no checkpoint is needed."""

import msgspec

from deepgguf.checkpoint.importance import ImportanceMatrix
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.recipes.patterns import TypePattern
from deepgguf.recipes.recipe import RECIPES, Recipe

PLAIN_TYPES = {"f32": GGMLType.F32, "f16": GGMLType.F16, "bf16": GGMLType.BF16}
TYPES = ("auto", *PLAIN_TYPES, *RECIPES)

# Choices that only a quantized file has, as the caller knows them.
_QUANTIZED_ONLY = {
    "patterns": "tensor_types",
    "output_type": "output_tensor_type",
    "token_embedding_type": "token_embedding_type",
    "importance": "imatrix",
}


class Options(msgspec.Struct, frozen=True):
    """A conversion's choices.

    `type` is one of TYPES. `output` is the name of the text file, "" for the default. `only` is a kind of file, or ""
    for all. `split_max_size` (bytes) and `split_max_tensors` are 0 for no limit.
    """

    target: str = "ollama"
    type: str = "auto"
    output: str = ""
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
    """UsageError for an unknown type, or a combination that makes no sense."""
    if options.type not in TYPES:
        raise UsageError("`type`", f"{options.type!r} is unknown", f"choose from {', '.join(TYPES)}")
    if options.recipe is None:
        for name, choice in _QUANTIZED_ONLY.items():
            if getattr(options, name):
                found = f'has no meaning for `type="{options.type}"`'
                raise UsageError(f"`{choice}`", found, "choose a quantized `type`")
