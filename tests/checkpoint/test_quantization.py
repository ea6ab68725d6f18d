"""What a checkpoint says of its quantization: where it stands, for which layers, and what is made of it."""

import pytest

from deepgguf.checkpoint.quantization import Quantization, declared_quantization
from deepgguf.errors import CheckpointError

FP8 = {"quant_method": "fp8", "weight_block_size": [128, 64]}


@pytest.mark.parametrize(
    ("config", "quantization"),
    [
        ({}, {}),
        ({"quantization_config": None}, {}),
        ({"quantization_config": FP8}, FP8),
        ({"quantization_config": FP8, "language_config": {}}, FP8),
        ({"language_config": {"quantization_config": FP8}}, FP8),
        ({"quantization_config": FP8, "language_config": {"quantization_config": None}}, {}),
    ],
    ids=str,
)
def test_the_quantization_is_what_the_config_or_the_language_config_in_it_says(config, quantization):
    assert declared_quantization(config) == quantization


def test_modelopt_says_it_in_a_file_of_its_own_which_counts_where_config_json_says_nothing():
    modelopt = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "group_size": 16}}
    assert declared_quantization({}, modelopt) == {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}
    assert declared_quantization({"quantization_config": FP8}, modelopt) == FP8


@pytest.mark.parametrize("twice", [{}, {"quantization_config": {"group_size": 64, "bits": 4}}])
def test_mlx_calls_it_quantization_and_repeats_it_without_a_method(twice):
    config = {"quantization": {"group_size": 64, "bits": 4}, **twice}
    assert declared_quantization(config) == {"quant_method": "mlx", "group_size": 64, "bits": 4}


def test_the_model_that_it_was_made_from_is_added_for_advice():
    assert declared_quantization({"quantization_config": FP8}, None, "org/V3")["base_model"] == "org/V3"
    assert declared_quantization({}, None, "org/V3") == {"base_model": "org/V3"}


def test_a_quantization_that_is_no_object_is_an_error():
    with pytest.raises(CheckpointError, match="^config.json: quantization_config is list, expected an object$"):
        declared_quantization({"quantization_config": [FP8]})


def groups(**targets: list[str]) -> dict[str, object]:
    """Groups of as many bits as their names say."""
    return {
        "config_groups": {name: {"targets": t, "weights": {"num_bits": int(name[1:])}} for name, t in targets.items()}
    }


@pytest.mark.parametrize(
    ("layer", "bits"),
    [("model.layers.0.self_attn.o_proj", 8), ("model.layers.3.mlp.experts.7.up_proj", 2), ("lm_head", 3), ("other", 4)],
)
def test_a_layer_has_the_words_of_the_group_that_names_it_or_of_its_class(layer, bits):
    said = groups(b4=["Linear"], b8=["re:.*self_attn.*"], b2=[r"re:.*experts\.\d+\.(gate|up)_proj$"], b3=["lm_head"])
    assert Quantization.of(said).of_layer(layer)["num_bits"] == bits


def test_a_single_group_is_for_all_layers_whatever_its_targets():
    said = groups(b8=["re:.*self_attn.*"])
    assert Quantization.of(said).of_layer("model.layers.0.mlp.up_proj")["num_bits"] == 8


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("(a+)+$", "repeats more than deepgguf tries"),
        (".*.*.*.*x", "repeats more than deepgguf tries"),
        ("a" * 301, "repeats more than deepgguf tries"),
        ("(", "is not a regular expression"),
    ],
    ids=["a repeated group", "many repetitions", "a long one", "a broken one"],
)
def test_a_pattern_that_could_take_for_ever_is_an_error(pattern, found):
    with pytest.raises(CheckpointError, match=found):
        Quantization.of(groups(b4=[f"re:{pattern}"]))


def test_a_group_that_is_no_object_is_an_error_that_names_it():
    with pytest.raises(CheckpointError, match=r"^config.json, quantization_config.config_groups.group_0: Expected"):
        Quantization.of({"config_groups": {"group_0": "Linear"}})
