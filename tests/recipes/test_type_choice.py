"""Each rule alone: which type a tensor gets, and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf.errors import CheckpointError, UsageError
from deepgguf.formats.gguf.types import GGMLType, block_of
from deepgguf.recipes.choice import (
    NO_EXCEPTIONS,
    Exceptions,
    Origin,
    Pin,
    TypeChoices,
    TypedTensor,
    allows_quantization,
    choose_types,
)
from deepgguf.recipes.patterns import TypePattern
from deepgguf.recipes.recipe import NEED_IMPORTANCE, RECIPES
from deepgguf.recipes.tensor import ModelFacts, TensorToType

BF16, F16, F32 = GGMLType.BF16, GGMLType.F16, GGMLType.F32
V3 = ModelFacts(n_layer=61, n_expert=256, n_head=128, n_head_kv=1)


def tensor(name: str, *shape: int, type: GGMLType = BF16) -> TensorToType:
    return TensorToType(name, shape or (512, 512), type)


OUTPUT = tensor("output.weight")


def typed(recipe: str, *tensors: TensorToType, facts: ModelFacts = V3, exceptions=NO_EXCEPTIONS, **choices):
    return choose_types(facts, tensors, TypeChoices(RECIPES[recipe], **choices), exceptions)


def types(recipe: str, *tensors: TensorToType, **more) -> list[GGMLType]:
    return [t.type for t in typed(recipe, *tensors, **more)]


def first(recipe: str, *tensors: TensorToType, **more) -> TypedTensor:
    return typed(recipe, *tensors, **more)[0]


@pytest.mark.parametrize(
    ("recipe", "row", "expected"),
    [
        ("iq4_xs", 96, GGMLType.IQ4_NL),
        ("q2_k", 96, GGMLType.Q4_0),
        ("q3_k_s", 96, GGMLType.Q4_0),
        ("q4_k_s", 96, GGMLType.Q5_0),
        ("q5_k_s", 96, GGMLType.Q5_1),
        ("q6_k", 96, GGMLType.Q8_0),
        ("q4_k_s", 80, F16),
        ("q6_k", 8, F16),
    ],
)
def test_rows_that_are_not_a_multiple_of_256_fall_back(recipe, row, expected):
    result = first(recipe, tensor("blk.20.attn_q_a.weight", 8, row), OUTPUT)
    assert (result.type, result.wanted, result.origin) == (expected, RECIPES[recipe].type, Origin.FALLBACK)


@pytest.mark.parametrize("recipe", ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"])
@pytest.mark.parametrize("unquantized", [BF16, F16])
def test_rows_that_are_not_a_multiple_of_32_become_f16(recipe, unquantized):
    result = first(recipe, tensor("blk.20.attn_q_a.weight", 8, 80, type=unquantized), OUTPUT)
    assert result == TypedTensor("blk.20.attn_q_a.weight", F16, RECIPES[recipe].type, Origin.FALLBACK)


def test_experts_whose_rows_do_not_fit_mxfp4_become_f16():
    result = first("mxfp4_moe", tensor("blk.20.ffn_up_exps.weight", 4, 8, 80), OUTPUT)
    assert (result.type, result.wanted, result.origin) == (F16, GGMLType.MXFP4, Origin.FALLBACK)


def test_where_llama_quantize_has_no_fallback_the_tensor_is_named():
    expected = (
        "blk.20.attn_q_a.weight: rows of 96 are not a multiple of 128, and Q1_0 has no type to fall back to; choose "
        "another type for it by `tensor_types`"
    )
    with pytest.raises(UsageError, match=f"^{expected}$"):
        first("q1_0", tensor("blk.20.attn_q_a.weight", 8, 96), OUTPUT)


def test_the_embedding_of_q1_0_is_q1_0_and_the_output_q6_k_where_rows_fit():
    embedding, narrow = tensor("token_embd.weight", 64, 256), tensor("output.weight", 64, 64)
    assert types("q1_0", embedding, tensor("output.weight", 64, 256)) == [GGMLType.Q1_0, GGMLType.Q6_K]
    assert types("q1_0", narrow) == [GGMLType.Q8_0]


def test_mxfp4_moe_gives_mxfp4_to_every_stack_and_q8_0_to_every_matrix():
    stack, heads = tensor("blk.9.ffn_up_exps.weight", 256, 64, 64), tensor("blk.9.attn_k_b.weight", 128, 512, 128)
    matrix, embedding = tensor("blk.9.ffn_up_shexp.weight", 64, 64), tensor("token_embd.weight", 64, 64)
    assert types("mxfp4_moe", stack, heads, matrix, embedding, OUTPUT) == [
        GGMLType.MXFP4,
        GGMLType.MXFP4,
        GGMLType.Q8_0,
        GGMLType.Q8_0,
        GGMLType.Q8_0,
    ]


@pytest.mark.parametrize(
    "name",
    [
        "blk.3.attn_norm.weight",
        "blk.3.ffn_gate_inp.weight",
        "blk.3.exp_probs_b.bias",
        "v.position_embd.weight",
        "v.sam.neck.0.weight",
        "v.sam.net_2.weight",
        "v.patch_embd.weight",
    ],
)
def test_norms_routers_biases_and_an_encoders_small_parts_are_never_quantized(name):
    assert not allows_quantization(tensor(name))


@pytest.mark.parametrize("shape", [(512,), (1, 512), (1, 1, 512), (2, 3, 16, 512)])
def test_only_matrices_and_stacks_of_matrices_are_quantized(shape):
    assert not allows_quantization(TensorToType("blk.3.ffn_up.weight", shape, BF16))


def test_a_stack_of_one_expert_is_a_matrix():
    assert allows_quantization(tensor("blk.3.ffn_up_exps.weight", 1, 512, 512))


def test_the_output_gets_q6_k_and_the_embedding_the_recipes_type():
    assert types("q4_k_m", tensor("token_embd.weight"), OUTPUT) == [GGMLType.Q4_K, GGMLType.Q6_K]


def test_a_tied_embedding_is_typed_as_an_output():
    assert types("q4_k_m", tensor("token_embd.weight")) == [GGMLType.Q6_K]


def test_an_output_whose_rows_do_not_fit_the_recipes_type_gets_q8_0():
    assert types("q4_k_m", tensor("output.weight", 512, 96)) == [GGMLType.Q8_0]


def test_in_a_model_of_eight_experts_attention_gets_more_bits():
    facts = ModelFacts(n_layer=32, n_expert=8, n_head=32, n_head_kv=8)
    names = ["attn_k", "attn_v", "attn_q", "attn_output"]
    tensors = [tensor(f"blk.20.{name}.weight") for name in names]
    assert types("q4_k_m", *tensors, OUTPUT, facts=facts)[:4] == [
        GGMLType.Q8_0,
        GGMLType.Q8_0,
        GGMLType.Q4_K,
        GGMLType.Q5_K,
    ]


@pytest.mark.parametrize(("n_head_kv", "expected"), [(8, GGMLType.Q4_K), (16, GGMLType.Q3_K), (0, GGMLType.Q3_K)])
def test_values_shared_by_four_heads_get_more_bits_in_q2_k(n_head_kv, expected):
    facts = ModelFacts(n_layer=32, n_expert=64, n_head=32, n_head_kv=n_head_kv)
    assert types("q2_k", tensor("blk.20.attn_kv_b.weight"), OUTPUT, facts=facts)[0] is expected


def test_values_are_counted_in_the_order_of_layers_whatever_the_order_given():
    layers = [10, 2, 0, 1, 9]
    tensors = [tensor(f"blk.{layer}.attn_v.weight") for layer in layers]
    assert types("q3_k_m", *tensors, OUTPUT)[:5] == [
        GGMLType.Q4_K,
        GGMLType.Q4_K,
        GGMLType.Q5_K,
        GGMLType.Q5_K,
        GGMLType.Q4_K,
    ]


def test_a_value_whose_type_was_chosen_is_not_counted():
    tensors = [tensor(f"blk.{layer}.attn_v.weight") for layer in range(4)]
    chosen = (TypePattern(r"blk\.0\.", GGMLType.Q8_0),)
    assert types("q3_k_m", *tensors, OUTPUT, patterns=chosen)[:4] == [
        GGMLType.Q8_0,
        GGMLType.Q5_K,
        GGMLType.Q5_K,
        GGMLType.Q4_K,
    ]


def test_q4_k_m_gives_more_bits_to_the_first_and_last_eighth_and_every_third_layer_between():
    facts = ModelFacts(n_layer=24, n_expert=64, n_head=32, n_head_kv=32)
    tensors = [tensor(f"blk.{layer}.ffn_down_exps.weight", 4, 256, 256) for layer in range(24)]
    more = [i for i, type in enumerate(types("q4_k_m", *tensors, OUTPUT, facts=facts)[:24]) if type is GGMLType.Q6_K]
    assert more == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]


def test_without_experts_layers_of_ffn_down_are_counted_not_read():
    facts = ModelFacts(n_layer=8, n_expert=0, n_head=32, n_head_kv=32)
    assert types("q4_k_s", tensor("blk.7.ffn_down.weight"), OUTPUT, facts=facts)[0] is GGMLType.Q5_K


def test_with_experts_layers_of_ffn_down_are_read_from_the_name():
    downs = [tensor(f"blk.{layer}.ffn_down.weight") for layer in (6, 7)]
    assert types("q4_k_s", *downs, OUTPUT)[:2] == [GGMLType.Q5_K, GGMLType.Q4_K]


@pytest.mark.parametrize(
    ("recipe", "without", "with_matrix"),
    [
        ("q4_0", GGMLType.Q4_0, GGMLType.Q4_1),
        ("q5_0", GGMLType.Q5_0, GGMLType.Q5_1),
        ("iq4_xs", GGMLType.Q5_K, GGMLType.IQ4_XS),
        ("iq4_nl", GGMLType.Q5_K, GGMLType.IQ4_NL),
    ],
)
def test_an_importance_matrix_changes_ffn_down_in_the_first_layers(recipe, without, with_matrix):
    down = tensor("blk.0.ffn_down.weight")
    assert first(recipe, down, OUTPUT).type is without
    assert first(recipe, down, OUTPUT, importance={"blk.0.ffn_up.weight": 512}).type is with_matrix


def test_a_pattern_overrules_the_recipe_and_the_first_match_counts():
    patterns = (TypePattern("ffn_up_exps", GGMLType.Q5_K), TypePattern("ffn_up", GGMLType.Q8_0))
    tensors = [tensor("blk.9.ffn_up_exps.weight", 4, 256, 256), tensor("blk.9.ffn_up_shexp.weight")]
    results = typed("q4_k_m", *tensors, OUTPUT, patterns=patterns)
    assert [t.type for t in results] == [GGMLType.Q5_K, GGMLType.Q8_0, GGMLType.Q6_K]
    assert [t.origin for t in results] == [Origin.CHOSEN, Origin.CHOSEN, Origin.RECIPE]


def test_a_chosen_type_falls_back_like_a_recipes():
    result = first("q8_0", tensor("blk.9.ffn_up.weight", 8, 96), OUTPUT, patterns=(TypePattern("up", GGMLType.Q6_K),))
    assert (result.type, result.wanted, result.origin) == (GGMLType.Q8_0, GGMLType.Q6_K, Origin.FALLBACK)


def test_a_plain_type_can_be_chosen():
    assert first("q4_k_m", tensor("blk.9.ffn_up.weight"), patterns=(TypePattern("up", F32),)).type is F32


def test_a_pattern_does_not_quantize_what_is_never_quantized():
    norm = tensor("blk.9.ffn_norm.weight", type=F32)
    assert first("q4_k_m", norm, patterns=(TypePattern("ffn", GGMLType.Q8_0),)).origin is Origin.KEPT


def test_the_options_for_output_and_embedding_overrule_patterns():
    everything = (TypePattern("weight", GGMLType.Q8_0),)
    choices = {"patterns": everything, "output_type": GGMLType.Q5_K, "token_embedding_type": GGMLType.Q4_K}
    assert types("q4_0", tensor("token_embd.weight"), OUTPUT, **choices) == [GGMLType.Q4_K, GGMLType.Q5_K]


def test_the_outputs_type_goes_to_a_tied_embedding_unless_a_pattern_or_option_says_otherwise():
    embedding = tensor("token_embd.weight")
    everything = (TypePattern("weight", GGMLType.Q8_0),)
    assert types("q4_0", embedding, output_type=GGMLType.Q5_K) == [GGMLType.Q5_K]
    assert types("q4_0", embedding, output_type=GGMLType.Q5_K, patterns=everything) == [GGMLType.Q8_0]
    both = {"output_type": GGMLType.Q5_K, "token_embedding_type": GGMLType.Q4_1}
    assert types("q4_0", embedding, **both) == [GGMLType.Q4_1]


def test_the_outputs_type_does_not_go_to_an_embedding_that_is_not_tied():
    assert types("q4_0", tensor("token_embd.weight"), OUTPUT, output_type=F16) == [GGMLType.Q4_0, F16]


def test_a_targets_pin_holds_under_its_recipes_only_and_gives_way_to_the_users_pattern():
    pins = Exceptions(pins=(Pin(("q4_k_m",), TypePattern("attn_q_a", GGMLType.Q8_0)),))
    query = tensor("blk.9.attn_q_a.weight")
    mine = (TypePattern("attn", GGMLType.Q5_K),)
    pinned = first("q4_k_m", query, OUTPUT, exceptions=pins)
    assert (pinned.type, pinned.origin) == (GGMLType.Q8_0, Origin.PINNED)
    assert first("q5_k_m", query, OUTPUT, exceptions=pins).type is GGMLType.Q5_K
    assert first("q4_k_m", query, OUTPUT, exceptions=pins, patterns=mine).type is GGMLType.Q5_K


def test_tensors_under_a_kept_prefix_stay_and_do_not_count():
    kept = Exceptions(kept_prefixes=("v.",))
    tensors = [tensor(f"v.blk.{i}.attn_v.weight", type=F16) for i in range(3)] + [tensor("blk.0.attn_v.weight")]
    assert types("q3_k_m", *tensors, OUTPUT, exceptions=kept)[:4] == [F16, F16, F16, GGMLType.Q5_K]


def test_q2_k_s_without_an_importance_matrix_is_an_error_that_says_so():
    with pytest.raises(UsageError, match=r"blk\.9\.ffn_up\.weight: q2_k_s needs an importance matrix.*`imatrix`"):
        typed("q2_k_s", tensor("blk.9.ffn_up.weight"), OUTPUT)


def test_q2_k_s_with_a_matrix_that_lacks_a_tensor_is_an_error_that_names_it():
    with pytest.raises(UsageError, match=r"blk\.9\.ffn_up\.weight: .*no entry"):
        typed("q2_k_s", tensor("blk.9.ffn_up.weight"), OUTPUT, importance={"blk.9.ffn_gate.weight": 512})


def test_q2_k_s_needs_no_weights_for_the_embedding():
    assert types("q2_k_s", tensor("token_embd.weight"), OUTPUT, importance={}) == [GGMLType.Q2_K, GGMLType.Q6_K]


def test_a_tensor_with_an_entry_is_weighted_and_one_without_is_not():
    up, gate = tensor("blk.9.ffn_up_exps.weight", 4, 256, 512), tensor("blk.9.ffn_gate_exps.weight", 4, 256, 512)
    results = typed("q4_k_m", up, gate, importance={up.name: 4 * 512})
    assert [t.weighted for t in results] == [True, False]


@pytest.mark.parametrize("recipe", ["q8_0", "mxfp4_moe"])
def test_types_that_read_no_weights_are_not_weighted(recipe):
    up = tensor("blk.9.ffn_up_exps.weight", 4, 256, 512)
    assert not first(recipe, up, OUTPUT, importance={up.name: 4 * 512}).weighted


def test_an_entry_of_another_size_is_an_error():
    up = tensor("blk.9.ffn_up_exps.weight", 4, 256, 512)
    with pytest.raises(CheckpointError, match=r"blk\.9\.ffn_up_exps\.weight: .* 512 values, the tensor needs 2048"):
        typed("q4_k_m", up, OUTPUT, importance={up.name: 512})


def test_an_embeddings_entry_of_another_size_is_ignored():
    assert not first("q4_k_m", tensor("token_embd.weight"), OUTPUT, importance={"token_embd.weight": 7}).weighted


@given(
    recipe=st.sampled_from(sorted(RECIPES.keys() - NEED_IMPORTANCE - {"q1_0"})),
    row=st.integers(1, 2048),
    name=st.sampled_from(["attn_q_a", "attn_v", "attn_k", "attn_output", "ffn_down", "ffn_up", "attn_kv_b"]),
    layer=st.integers(0, 60),
    n_expert=st.sampled_from([0, 8, 64]),
)
def test_a_chosen_type_always_fits_the_rows(recipe, row, name, layer, n_expert):
    facts = ModelFacts(n_layer=61, n_expert=n_expert, n_head=16, n_head_kv=16)
    result = first(recipe, tensor(f"blk.{layer}.{name}.weight", 4, row), OUTPUT, facts=facts)
    assert row % block_of(result.type).weights == 0
