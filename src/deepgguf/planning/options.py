"""What the user may ask for, checked as far as no checkpoint is needed."""

from collections.abc import Mapping

import msgspec

from deepgguf.checkpoint.importance import ImportanceMatrix
from deepgguf.checkpoint.pre_tokenizer import KNOWN_NAMES, PATTERNS
from deepgguf.choices import FileKind, Mtp, Target
from deepgguf.errors import UsageError
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.planning.key_overrides import KeyOverride
from deepgguf.recipes.choice import TypeChoices
from deepgguf.recipes.patterns import Chooses
from deepgguf.recipes.recipe import RECIPES, Recipe

PLAIN_TYPES = {"f32": GGMLType.F32, "f16": GGMLType.F16, "bf16": GGMLType.BF16}
SOURCE = "source"
TYPES = ("auto", SOURCE, *PLAIN_TYPES, *RECIPES)

# The choices that only a quantized file has, as they are where nothing was chosen.
_QUANTIZED_ONLY = {
    "tensor_types": (), "output_tensor_type": None, "token_embedding_type": None, "imatrix": None, "pure": False,
    "leave_output_tensor": False,
}  # fmt: skip


class Options(msgspec.Struct, frozen=True):
    """A conversion's choices, parsed; see `choices.Choices`.

    `type` is one of TYPES, that of a recipe file its base; `recipe_name` is what that is called. `like` are the names
    of the tensors of a published file, where types are as there. `output` is the name of the text file.
    `split_max_size` is in bytes. `allow_requantize` and `keep_split` are for GGUF files as sources.
    """

    target: Target = "ollama"
    type: str = "auto"
    output: str | None = None
    only: FileKind | None = None
    mtp: Mtp | None = None
    drop: tuple[str, ...] = ()
    split_max_size: int | None = None
    split_max_tensors: int | None = None
    recipe_name: str = ""
    like: frozenset[str] | None = None
    tensor_types: tuple[Chooses, ...] = ()
    output_tensor_type: GGMLType | None = None
    token_embedding_type: GGMLType | None = None
    imatrix: ImportanceMatrix | None = None
    pure: bool = False
    leave_output_tensor: bool = False
    override_kv: tuple[KeyOverride, ...] = ()
    pre: str | None = None
    chat_template: str | None = None
    allow_requantize: bool = False
    keep_split: bool = False

    @property
    def recipe(self) -> Recipe | None:
        """The recipe of a quantized type."""
        return RECIPES.get(self.type)

    @property
    def importance(self) -> ImportanceMatrix | None:
        """The importance matrix, if its filter leaves anything of it."""
        return self.imatrix if self.imatrix and self.imatrix.entries else None

    @property
    def plain_type(self) -> GGMLType | None:
        """The type chosen for every matrix of an unquantized file."""
        return PLAIN_TYPES.get(self.type)

    def of_type(self, type: str) -> "Options":
        """The same for another type, without what only quantized files have if it is not quantized."""
        return msgspec.structs.replace(self, type=type, **({} if type in RECIPES else _QUANTIZED_ONLY))


def type_choices(options: Options, recipe: Recipe, importance: Mapping[str, int] | None) -> TypeChoices:
    """What the options say of types; `importance` as there."""
    return TypeChoices(
        recipe=recipe,
        patterns=options.tensor_types,
        output_type=options.output_tensor_type,
        token_embedding_type=options.token_embedding_type,
        importance=importance,
        pure=options.pure,
        leave_output=options.leave_output_tensor,
    )


def check_pre(name: str) -> None:
    """UsageError for a pre-tokenizer that llama.cpp does not have."""
    if name not in KNOWN_NAMES:
        found = f"llama.cpp knows no pre-tokenizer {name!r}, and loads no file with it"
        advice = f"choose {', '.join(PATTERNS.values())}, or another name of its llama-vocab.cpp"
        raise UsageError("`pre`", found, advice)


def check_options(options: Options) -> None:
    """UsageError for an unknown type, or a combination that makes no sense."""
    if options.type not in TYPES:
        raise UsageError("`type`", f"{options.type!r} is unknown", f"choose from {', '.join(TYPES)}")
    if options.pre is not None:
        check_pre(options.pre)
    if options.recipe is None:
        for name, nothing in _QUANTIZED_ONLY.items():
            if getattr(options, name) != nothing:
                found = f'has no meaning for `type="{options.type}"`'
                raise UsageError(f"`{name}`", found, "choose a quantized `type`")
