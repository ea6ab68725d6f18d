"""The mixtures: which type a recipe gives a tensor by its place in the model.

Every rule is one of llama-quant.cpp, llama_tensor_get_type_impl, reduced to the recipes that deepgguf has and to models
that are neither Falcon nor Llama 70B. Whether the type fits the tensor's rows is not asked here: see `fallback`.
"""

import msgspec

from deepgguf.formats.gguf.types import GGMLType
from deepgguf.recipes.fallback import fits
from deepgguf.recipes.recipe import Recipe
from deepgguf.recipes.tensor import Category, ModelFacts, TensorToType

_SHARING_HEADS = 4  # query heads per key-value head from which on the small value projection gets more bits
_MIXTRAL_EXPERTS = 8  # a model with exactly so many experts gets more bits in attention

_MANY_EXPERTS = 4  # from which on the value projection of mixtures of one or two bits gets more

# What some tensors get in mixtures of one or two bits, which have rules of their own.
_BETTER = {
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs"), GGMLType.Q2_K),
    **dict.fromkeys(("iq2_s", "iq2_m"), GGMLType.IQ3_S),
}
_OF_THREE_BITS = ("iq3_xxs", "iq3_xs", "iq3_s", "iq3_m")
_OUTPUT_OF_ATTENTION = {
    **dict.fromkeys(("iq1_s", "iq1_m"), GGMLType.IQ2_XXS),
    **dict.fromkeys(("iq2_s", "iq2_m", "iq3_xxs"), GGMLType.IQ3_S),
}
_KEY_AND_QUERY = {"iq3_xxs": GGMLType.IQ2_S, "iq3_xs": GGMLType.IQ3_XXS}
_TOKEN_EMBEDDING = {
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs"), GGMLType.Q2_K),
    **dict.fromkeys(("iq2_s", "iq2_m", "iq3_xxs"), GGMLType.IQ3_S),
    **dict.fromkeys(("tq1_0", "tq2_0", "q2_0"), GGMLType.Q4_K),
}


class Place(msgspec.Struct, frozen=True):
    """What a rule reads besides the tensor itself.

    `values_before` of all `values` attention-value tensors, and `before` of the tensor's own category, were typed by a
    rule before this tensor; `tied`: there is no output tensor, the token embedding serves as one; `weighted`: an
    importance matrix was given.
    """

    values_before: int
    values: int
    before: int
    tied: bool
    weighted: bool


def mixture_type(recipe: Recipe, facts: ModelFacts, tensor: TensorToType, place: Place) -> GGMLType:
    """The type that the recipe wants for the tensor."""
    category = tensor.category
    if category is Category.OUTPUT or (category is Category.TOKEN_EMBEDDING and place.tied):
        return _output(recipe, tensor)
    if recipe.name == "mxfp4_moe":
        return GGMLType.MXFP4 if tensor.matrices > 1 else GGMLType.Q8_0
    if category is Category.TOKEN_EMBEDDING:
        return _TOKEN_EMBEDDING.get(recipe.name, recipe.type)
    if recipe.name in _BETTER:
        return _one_or_two_bits(recipe, facts, category, place)
    # Without experts llama.cpp counts; with them it reads the layer from the name.
    layer = tensor.layer if facts.n_expert > 1 else place.before
    match category:
        case Category.ATTENTION_VALUE:
            return _attention_value(recipe, facts, place)
        case Category.ATTENTION_KEY if facts.n_expert == _MIXTRAL_EXPERTS:
            return GGMLType.Q8_0
        case Category.ATTENTION_KEY | Category.ATTENTION_QUERY:
            return _KEY_AND_QUERY.get(recipe.name, recipe.type)
        case Category.ATTENTION_OUTPUT:
            return _attention_output(recipe, facts)
        case Category.FFN_DOWN:
            return _ffn_down(recipe, layer, facts, place.weighted)
        case Category.FFN_GATE | Category.FFN_UP if recipe.name == "iq3_xs":
            middle = facts.n_layer // 8 <= layer < 7 * facts.n_layer // 8
            return GGMLType.IQ3_XXS if middle else recipe.type
    return recipe.type


def _one_or_two_bits(recipe: Recipe, facts: ModelFacts, category: Category, place: Place) -> GGMLType:
    mixtral = facts.n_expert == _MIXTRAL_EXPERTS
    match category:
        case Category.ATTENTION_VALUE:
            many = facts.heads_per_kv_head >= _SHARING_HEADS or facts.n_expert >= _MANY_EXPERTS
            return GGMLType.Q4_K if many else _BETTER[recipe.name]
        case Category.ATTENTION_KEY if mixtral:
            return GGMLType.Q4_K
        case Category.FFN_DOWN if place.before < facts.n_layer // 8:  # counted, with experts too
            return _BETTER[recipe.name]
        case Category.ATTENTION_OUTPUT:
            return GGMLType.Q5_K if mixtral else _OUTPUT_OF_ATTENTION.get(recipe.name, recipe.type)
    return recipe.type


def _output(recipe: Recipe, tensor: TensorToType) -> GGMLType:
    if recipe.name == "mxfp4_moe" or recipe.type is GGMLType.Q8_0 or not fits(recipe.type, tensor.row):
        return GGMLType.Q8_0
    return GGMLType.Q5_K if recipe.name in _BETTER or recipe.name == "iq3_xxs" else GGMLType.Q6_K


def _attention_value(recipe: Recipe, facts: ModelFacts, place: Place) -> GGMLType:
    if facts.n_expert == _MIXTRAL_EXPERTS:
        return GGMLType.Q8_0
    sharing = facts.heads_per_kv_head >= _SHARING_HEADS
    match recipe.name:
        case "q2_k":
            return GGMLType.Q4_K if sharing else GGMLType.Q3_K
        case "q2_k_s" if sharing:
            return GGMLType.Q4_K
        case "q3_k_m":
            return GGMLType.Q5_K if place.values_before < 2 else GGMLType.Q4_K
        case "q3_k_l":
            return GGMLType.Q5_K
        case "iq4_nl" | "iq4_xs" if sharing:
            return GGMLType.Q5_K
        case "iq3_xxs" | "iq3_xs" | "iq3_s" if sharing:
            return GGMLType.Q4_K
        case "iq3_xxs" if not place.weighted:
            return GGMLType.IQ3_S
        case "iq3_m":
            return GGMLType.Q4_K
        case "q4_k_m" | "q5_k_m" if _uses_more_bits(place.values_before, place.values):
            return GGMLType.Q6_K
        case "q4_k_s" if place.values_before < 4:
            return GGMLType.Q5_K
    return recipe.type


def _attention_output(recipe: Recipe, facts: ModelFacts) -> GGMLType:
    if facts.n_expert == _MIXTRAL_EXPERTS:
        raised = ("q2_k", "q3_k_s", "q3_k_m", "iq4_nl", "iq4_xs", "q4_k_s", "q4_k_m", *_OF_THREE_BITS)
        return GGMLType.Q5_K if recipe.name in raised else recipe.type
    match recipe.name:
        case "q2_k":
            return GGMLType.Q3_K
        case "q3_k_m":
            return GGMLType.Q4_K
        case "q3_k_l":
            return GGMLType.Q5_K
        case "iq3_m":
            return GGMLType.Q4_K
    return _OUTPUT_OF_ATTENTION.get(recipe.name, recipe.type)


def _ffn_down(recipe: Recipe, layer: int, facts: ModelFacts, weighted: bool) -> GGMLType:
    n_layer = facts.n_layer
    first_eighth = layer < n_layer // 8
    match recipe.name:
        case "q2_k":
            return GGMLType.Q3_K
        case "q2_k_s" if first_eighth:
            return GGMLType.Q4_K
        case "q3_k_m":
            return GGMLType.Q5_K if layer < n_layer // 16 else GGMLType.Q4_K
        case "q3_k_l":
            return GGMLType.Q5_K
        case "q4_k_m" | "q5_k_m" if _uses_more_bits(layer, n_layer):
            return GGMLType.Q6_K
        case "q4_k_s" if first_eighth:
            return GGMLType.Q5_K
        case "iq4_nl" | "iq4_xs" if first_eighth and not weighted:
            return GGMLType.Q5_K
        case "iq3_xxs" if not weighted:
            return GGMLType.Q4_K if first_eighth else GGMLType.Q3_K
        case "iq3_m" if first_eighth or (facts.n_expert == _MIXTRAL_EXPERTS and _uses_more_bits(layer, n_layer)):
            return GGMLType.Q4_K
        # With weights, Q4_0 and Q5_0 can fail badly in the first layers; without, the better types would.
        case "q4_0" if first_eighth and weighted:
            return GGMLType.Q4_1
        case "q5_0" if first_eighth and weighted:
            return GGMLType.Q5_1
    return recipe.type


def _uses_more_bits(i: int, n: int) -> bool:
    """The first and last eighth, and every third between (llama-quant.cpp, use_more_bits)."""
    # C's remainder is negative below n/8, but those are in the first eighth anyway.
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2
