"""The decision itself: every tensor's type, from the recipe, the user's own choice and the target's exceptions."""

import enum
from collections.abc import Iterable, Mapping

import msgspec

from deepgguf.encodings import encoding_of
from deepgguf.encodings.quantized import Quantized
from deepgguf.errors import CheckpointError, UsageError
from deepgguf.formats.gguf.types import GGMLType, block_of
from deepgguf.recipes.fallback import fitting_type
from deepgguf.recipes.mixture import Place, mixture_type
from deepgguf.recipes.patterns import Chooses, TypePattern, first_match
from deepgguf.recipes.recipe import Recipe
from deepgguf.recipes.tensor import Category, ModelFacts, TensorToType, visiting_key

# llama-quant.cpp, tensor_allows_quantization: parts of the names of tensors that are too small or too sensitive.
_NEVER_QUANTIZED = (
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
)
_WAYS_OUT = "give one as `imatrix` that has, or choose a type that needs none, such as q2_k, or `tensor_types`"

_NEVER_QUANTIZED_NAMES = frozenset({"position_embd.weight", "token_types.weight"})


class Pin(msgspec.Struct, frozen=True):
    """A target's exception: under the named recipes, tensors that the pattern finds get its type."""

    recipes: tuple[str, ...]
    pattern: TypePattern


class Exceptions(msgspec.Struct, frozen=True):
    """What a target does differently from llama-quantize.

    Tensors whose name starts with one of `kept_prefixes` stay as they are; `pins` act as patterns behind the user's.
    """

    kept_prefixes: tuple[str, ...] = ()
    pins: tuple[Pin, ...] = ()


NO_EXCEPTIONS = Exceptions()


class TypeChoices(msgspec.Struct, frozen=True):
    """What was asked for.

    `patterns` are tried in order, the first match counts. `pure`: the recipe's type for every tensor, without its rules
    or the target's exceptions. `leave_output`: output.weight stays as it is. `importance` has the number of values that
    the importance matrix has for a tensor, by its name; None means that there is no matrix.
    """

    recipe: Recipe
    patterns: tuple[Chooses, ...] = ()
    output_type: GGMLType | None = None
    token_embedding_type: GGMLType | None = None
    importance: Mapping[str, int] | None = None
    pure: bool = False
    leave_output: bool = False


class UnfitError(UsageError):
    """A mixture that cannot be made of this model, as rows fit neither its type nor one to fall back to."""


class Origin(enum.Enum):
    """Where a tensor's type comes from."""

    RECIPE = "the recipe"
    CHOSEN = "the user's choice"
    PINNED = "the target's exception"
    FALLBACK = "a fallback, because the wanted type does not fit the rows"
    KEPT = "unquantized by rule"


class TypedTensor(msgspec.Struct, frozen=True):
    """A tensor and its type.

    `wanted` is the type before any fallback. `weighted`: the data of the importance matrix for it are to be used.
    """

    name: str
    type: GGMLType
    wanted: GGMLType
    origin: Origin
    weighted: bool = False

    def note(self, row: int) -> str:
        """Why a tensor of rows of so many weights has another type than its recipe's; empty where it has not."""
        if self.type is not self.wanted:
            block = block_of(self.wanted).weights
            return f"rows of {row} are not a multiple of {block}: {self.type.name} instead of {self.wanted.name}"
        return self.origin.value if self.origin in (Origin.PINNED, Origin.CHOSEN) else ""


def choose_types(
    facts: ModelFacts,
    tensors: Iterable[TensorToType],
    choices: TypeChoices,
    exceptions: Exceptions = NO_EXCEPTIONS,
) -> tuple[TypedTensor, ...]:
    """The type of every tensor, in the order given, as llama-quantize decides (llama-quant.cpp).

    The result does not depend on the order: tensors are counted in llama-quantize's own.

    Raises:
        UsageError: the recipe needs an importance matrix, and there is none or it lacks a tensor; or a tensor's rows do
            not fit its type, which has no fallback (UnfitError if that is the recipe's).
        CheckpointError: what the importance matrix has for a tensor does not have its size.
    """
    given = tuple(tensors)
    ruled = sorted((t for t in given if not t.name.startswith(exceptions.kept_prefixes)), key=visiting_key)
    categories = [tensor.category for tensor in ruled]
    values, tied = categories.count(Category.ATTENTION_VALUE), Category.OUTPUT not in categories
    typed: dict[str, TypedTensor] = {}
    before = dict.fromkeys(Category, 0)
    for tensor, category in zip(ruled, categories, strict=True):
        if not allows_quantization(tensor) or (choices.leave_output and category is Category.OUTPUT):
            continue
        asked = _asked_for(tensor, choices, exceptions, tied)
        if asked is None:
            values_before = before[Category.ATTENTION_VALUE]
            place = Place(values_before, values, before[category], tied, weighted=choices.importance is not None)
            asked = mixture_type(choices.recipe, facts, tensor, place), Origin.RECIPE
            before[category] += 1
        typed[tensor.name] = _typed(tensor, *asked, choices)
    return tuple(typed.get(t.name, TypedTensor(t.name, t.type, t.type, Origin.KEPT)) for t in given)


def allows_quantization(tensor: TensorToType) -> bool:
    """Whether llama-quantize would quantize the tensor at all (llama-quant.cpp, tensor_allows_quantization).

    Matrices and stacks of them whose name ends in `weight`, but for norms, routers and other small ones. Tensors of
    four dimensions, which llama-quantize would write incompletely, are not quantized either.
    """
    name = tensor.name
    return (
        2 <= tensor.dimensions <= 3
        and name.endswith("weight")
        and name not in _NEVER_QUANTIZED_NAMES
        and not any(part in name for part in _NEVER_QUANTIZED)
    )


def _asked_for(
    tensor: TensorToType, choices: TypeChoices, exceptions: Exceptions, tied: bool
) -> tuple[GGMLType, Origin] | None:
    """The type that user or target asked for, None if the rules decide (llama_tensor_get_type, in its order)."""
    category = tensor.category
    if category is Category.TOKEN_EMBEDDING and choices.token_embedding_type is not None:
        return choices.token_embedding_type, Origin.CHOSEN
    if category is Category.OUTPUT and choices.output_type is not None:
        return choices.output_type, Origin.CHOSEN
    chosen = first_match(choices.patterns, tensor.name)
    if chosen:
        return chosen.type, Origin.CHOSEN
    if choices.pure:
        return choices.recipe.type, Origin.RECIPE
    pinned = first_match((p.pattern for p in exceptions.pins if choices.recipe.name in p.recipes), tensor.name)
    if pinned:
        return pinned.type, Origin.PINNED
    if category is Category.TOKEN_EMBEDDING and tied and choices.output_type is not None:
        return choices.output_type, Origin.CHOSEN
    return None


def _typed(tensor: TensorToType, wanted: GGMLType, origin: Origin, choices: TypeChoices) -> TypedTensor:
    fitting = fitting_type(wanted, tensor.row)
    if fitting is None:
        block = block_of(wanted).weights
        found = f"rows of {tensor.row} are not a multiple of {block}, and {wanted.name} has no type to fall back to"
        error = UnfitError if origin is Origin.RECIPE else UsageError
        raise error(tensor.name, found, "choose another type for it by `tensor_types`")
    origin = origin if fitting is wanted else Origin.FALLBACK
    return TypedTensor(tensor.name, fitting, wanted, origin, _is_weighted(tensor, fitting, choices))


def _is_weighted(tensor: TensorToType, type: GGMLType, choices: TypeChoices) -> bool:
    """Whether the importance matrix is used (llama-quant.cpp, llama_model_quantize_impl, tensor_requires_imatrix)."""
    if type is tensor.type:
        return False
    found = choices.importance.get(tensor.name) if choices.importance is not None else None
    if found is None:
        if _needs_importance(tensor, type, choices.recipe):
            lack = "has no entry in the importance matrix" if choices.importance is not None else "has none"
            needing = choices.recipe.name if type is choices.recipe.type else type.name.lower()
            raise UsageError(tensor.name, f"{needing} needs an importance matrix, and this tensor {lack}", _WAYS_OUT)
        return False
    expected = tensor.row * tensor.matrices
    if found != expected and tensor.category is not Category.TOKEN_EMBEDDING:
        found_text = f"the importance matrix has {found} values, the tensor needs {expected}"
        raise CheckpointError(tensor.name, found_text, "use the matrix that was made of this model")
    encoding = encoding_of(type)
    return found == expected and isinstance(encoding, Quantized) and encoding.takes_importance


def _needs_importance(tensor: TensorToType, type: GGMLType, recipe: Recipe) -> bool:
    """Whether llama-quantize does not make the tensor without a matrix (llama-quant.cpp, tensor_requires_imatrix).

    Output and token embedding may do without one, but for types with which it ends itself there.
    """
    encoding = encoding_of(type)
    if tensor.category in (Category.OUTPUT, Category.TOKEN_EMBEDDING):
        return isinstance(encoding, Quantized) and encoding.impossible_without_importance
    needs = isinstance(encoding, Quantized) and encoding.needs_importance
    return needs or (type is GGMLType.Q2_K and recipe.name == "q2_k_s")
