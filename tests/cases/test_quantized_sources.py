"""F7: checkpoints as quantizers leave them are converted to what their weights stand for, or named for what they are."""

import numpy as np
import pytest
from gguf import GGUFReader

import deepgguf
from deepgguf.errors import CheckpointError
from quantized_forms import FORMS, compressed, fp8, packed
from tiny_checkpoint import V3, Stored, stored, weights, without, write_checkpoint

# Rows of 32 weights or more, in which every form has whole groups.
CONFIG = V3 | {"hidden_size": 64, "moe_intermediate_size": 32, "q_lora_rank": 32, "kv_lora_rank": 32, "v_head_dim": 16}
CONFIG |= {"intermediate_size": 160, "qk_nope_head_dim": 32}
ACTIVATIONS = "static scales of activations, which engines do not use"


def is_quantized(name: str) -> bool:
    """As quantizers choose them: all linear layers but the head and the router."""
    return name.endswith("_proj.weight") or "kv_a_proj" in name


def coded(make, more=lambda layer: {}) -> tuple[dict[str, Stored], dict[str, Stored]]:
    """A model with weights in that form, and the same in F32."""
    rng = np.random.default_rng(0)
    as_coded, as_floats = {}, {}
    for name, tensor in weights(CONFIG).items():
        as_coded[name] = as_floats[name] = tensor
        if is_quantized(name):
            layer = name.removesuffix(".weight")
            made = make(rng, *tensor.shape)
            del as_coded[name]
            as_coded |= {f"{layer}.{part}": t for part, t in made.tensors.items()} | more(layer)
            as_floats[name] = stored(made.weights, "F32")
    return as_coded, as_floats


def source(tmp_path, tensors, config=None, files=None):
    said = CONFIG | ({"quantization_config": config} if config else {})
    return write_checkpoint(tmp_path / "source", said, tensors, files=files)


def contents(path) -> dict[str, tuple[str, bytes]]:
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(path).tensors}


@pytest.mark.parametrize("target", ["llama.cpp", "ollama"])
@pytest.mark.parametrize("form", FORMS)
def test_f7_a_model_in_each_form_becomes_what_its_weights_stand_for(tmp_path, form, target):
    config, make = FORMS[form]
    as_coded, as_floats = coded(make)
    folder = source(tmp_path, as_coded, config)
    exact = write_checkpoint(tmp_path / "exact", CONFIG, as_floats)
    for type in ("bf16", "f32", "q8_0"):
        made = tmp_path / f"{type}.gguf"
        deepgguf.convert(folder, made, target=target, type=type)
        assert deepgguf.verify(made, folder).differences == ()
        if "fp8" in form and type == "q8_0":  # goes by BF16
            continue
        deepgguf.convert(exact, tmp_path / f"exact-{type}.gguf", target=target, type=type)
        assert contents(made) == contents(tmp_path / f"exact-{type}.gguf")


@pytest.mark.parametrize("form", ["ct-mxfp4", "deepseek-v4-fp4"])
def test_f7_mxfp4_stays_mxfp4_weight_by_weight(tmp_path, form):
    config, make = FORMS[form]
    as_coded, as_floats = coded(make)
    folder, made = source(tmp_path, as_coded, config), tmp_path / "x.gguf"
    deepgguf.convert(folder, made, target="llama.cpp", type="mxfp4_moe")
    assert deepgguf.verify(made, folder).differences == ()
    deepgguf.convert(
        write_checkpoint(tmp_path / "e", CONFIG, as_floats), tmp_path / "f.gguf", target="llama.cpp", type="f32"
    )
    found, exact = ({t.name: t for t in GGUFReader(path).tensors} for path in (made, tmp_path / "f.gguf"))
    for name in ("blk.1.ffn_gate_exps.weight", "blk.1.ffn_down_exps.weight"):
        assert found[name].tensor_type.name == "MXFP4"
        from gguf.quants import dequantize

        np.testing.assert_array_equal(dequantize(found[name].data, found[name].tensor_type), exact[name].data)


@pytest.mark.parametrize(
    "name", ["input_scale", "k_scale", "v_scale", "output_scale", "input_global_scale", "input_zero_point"]
)
def test_f7_scales_of_activations_are_dropped_with_a_reason(tmp_path, name):
    config, make = FORMS["deepseek-fp8"]
    tensors, _ = coded(make, lambda layer: {f"{layer}.{name}": stored([1.0], "F32")})
    layers = sum(map(is_quantized, weights(CONFIG)))
    (dropped,) = deepgguf.plan(source(tmp_path, tensors, config)).dropped
    assert (dropped.reason, dropped.tensors, dropped.nbytes) == (ACTIVATIONS, layers, 4 * layers)


def test_f7_nvfp4_is_known_without_a_word_in_config_json(tmp_path):
    _, make = FORMS["modelopt-nvfp4"]
    said = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}}
    plan = deepgguf.plan(source(tmp_path, coded(make)[0], files={"hf_quant_config.json": said}))
    assert plan.warnings == ()
    assert plan.scales_paired == sum(map(is_quantized, weights(CONFIG)))


def test_f7_fp8_in_deepseek_s_blocks_without_a_config_is_converted_with_a_warning(tmp_path):
    config = CONFIG | {"intermediate_size": 256}
    made = fp8(lambda rows, cols: (-(-rows // 128), -(-cols // 128)), "weight_scale_inv")
    name = "model.layers.0.mlp.up_proj.weight"
    tensor = made(np.random.default_rng(0), 256, 64)
    tensors = without(weights(config), name) | {f"{name[:-7]}.{part}": t for part, t in tensor.tensors.items()}
    (warning,) = deepgguf.plan(write_checkpoint(tmp_path / "x", config, tensors)).warnings
    assert warning.startswith(
        "config.json: no quantization_config.weight_block_size; the scales fit blocks of 128 × 128"
    )


def test_f7_layers_of_one_model_may_have_different_forms(tmp_path):
    """Attention in 8 bits, the rest in 4: config_groups say so, for a row's scale does not."""
    config = compressed("pack-quantized", strategy="channel", num_bits=4)
    eight = {"targets": ["re:.*self_attn.*"], "weights": {"num_bits": 8, "strategy": "channel", "symmetric": True}}
    config["config_groups"]["attention"] = eight
    rng, as_coded, as_floats = np.random.default_rng(0), {}, {}
    for name, tensor in weights(CONFIG).items():
        if is_quantized(name):
            made = packed(8 if "self_attn" in name else 4, None)(rng, *tensor.shape)
            as_coded |= {f"{name[:-7]}.{part}": t for part, t in made.tensors.items()}
            as_floats[name] = stored(made.weights, "F32")
        else:
            as_coded[name] = as_floats[name] = tensor
    folder, exact = source(tmp_path, as_coded, config), write_checkpoint(tmp_path / "exact", CONFIG, as_floats)
    for path, tensors in ((tmp_path / "x.gguf", folder), (tmp_path / "y.gguf", exact)):
        deepgguf.convert(tensors, path, type="f32")
    assert contents(tmp_path / "x.gguf") == contents(tmp_path / "y.gguf")
    assert deepgguf.verify(tmp_path / "x.gguf", folder).differences == ()


@pytest.mark.parametrize("ignored", ["re:.*experts.*", "model.layers.1.mlp.experts.0.up_proj"])
def test_f7_what_is_stored_plainly_is_plain_whatever_the_config_s_ignore_list_says(tmp_path, ignored):
    config, make = FORMS["ct-int4-g32"]
    tensors, _ = coded(make)
    plain = {name: t for name, t in weights(CONFIG).items() if "experts" in name}
    tensors = {name: t for name, t in tensors.items() if "experts" not in name} | plain
    folder = source(tmp_path, tensors, config | {"ignore": [ignored]})
    deepgguf.convert(folder, tmp_path / "x.gguf", type="q8_0")
    assert deepgguf.verify(tmp_path / "x.gguf", folder).differences == ()


@pytest.mark.parametrize("type", ["f32", "source"])
def test_f7_experts_of_one_layer_may_be_packed_and_plain(tmp_path, type):
    config, make = FORMS["ct-int4-g32"]
    as_coded, as_floats = coded(make)
    plain = "model.layers.1.mlp.experts.1.up_proj"
    mixed = {name: t for name, t in as_coded.items() if not name.startswith(plain)}
    mixed[f"{plain}.weight"] = as_floats[f"{plain}.weight"]
    folder, exact = source(tmp_path, mixed, config), write_checkpoint(tmp_path / "exact", CONFIG, as_floats)
    deepgguf.convert(folder, tmp_path / "x.gguf", type=type)
    deepgguf.convert(exact, tmp_path / "y.gguf", type="f32")
    stack = "blk.1.ffn_up_exps.weight"
    assert contents(tmp_path / "x.gguf")[stack] == contents(tmp_path / "y.gguf")[stack]
    assert deepgguf.verify(tmp_path / "x.gguf", folder).differences == ()


LEFT_OVER = {
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "gptq": {"quant_method": "gptq", "bits": 4},
    "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}


@pytest.mark.parametrize("method", LEFT_OVER)
def test_f7_a_config_that_is_left_over_from_a_quantization_is_a_warning(tmp_path, method):
    folder = source(tmp_path, weights(CONFIG), LEFT_OVER[method])
    deepgguf.convert(folder, tmp_path / "x.gguf", type="bf16")
    assert deepgguf.plan(folder).warnings == (
        f"config.json: its quantization ({method}) is left over, since all weights are stored plainly; it is ignored, "
        "and is better removed",
    )


def zeros(dtype: str, size: int, *shape: int) -> Stored:
    return Stored(dtype, shape, bytes(size * int(np.prod(shape))))


def gptq(rows, cols):
    return {
        "qweight": zeros("I32", 4, cols // 8, rows), "qzeros": zeros("I32", 4, 1, rows // 8),
        "scales": zeros("F16", 2, 1, rows), "g_idx": zeros("I32", 4, cols),
    }  # fmt: skip


def awq(rows, cols):
    return {
        "qweight": zeros("I32", 4, cols, rows // 8), "qzeros": zeros("I32", 4, 1, rows // 8),
        "scales": zeros("F16", 2, 1, rows),
    }  # fmt: skip


def bnb4(rows, cols):
    return {
        "weight": zeros("U8", 1, rows * cols // 2, 1), "weight.absmax": zeros("U8", 1, rows * cols // 64 or 1),
        "weight.quant_map": zeros("F32", 4, 16), "weight.nested_absmax": zeros("F32", 4, 1),
        "weight.nested_quant_map": zeros("F32", 4, 256),
        "weight.quant_state.bitsandbytes__nf4": zeros("U8", 1, 90),
    }  # fmt: skip


def bnb8(rows, cols):
    return {"weight": zeros("I8", 1, rows, cols), "SCB": zeros("F32", 4, rows), "weight_format": zeros("U8", 1, 1)}


def mlx(rows, cols):
    scales = zeros("BF16", 2, rows, 1)
    return {"weight": zeros("U32", 4, rows, cols // 8), "scales": scales, "biases": scales}


FOREIGN = {
    "GPTQ": (gptq, {"quantization_config": {"quant_method": "gptq", "bits": 4}}),
    "AWQ": (awq, {"quantization_config": {"quant_method": "awq", "bits": 4}}),
    "bitsandbytes (4": (bnb4, {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}),
    "bitsandbytes (8": (bnb8, {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}),
    "MLX": (mlx, {"quantization": {"group_size": 64, "bits": 4}}),
}


@pytest.mark.parametrize("told", ["by the config", "by the tensors"])
@pytest.mark.parametrize("tool", FOREIGN)
def test_f7_what_deepgguf_does_not_read_is_called_by_its_tool_and_the_original_is_named(tmp_path, tool, told):
    form, config = FOREIGN[tool]
    tensors = {}
    for name, tensor in weights(CONFIG).items():
        made = form(*tensor.shape) if is_quantized(name) else {"weight": tensor}
        tensors |= (
            {f"{name.removesuffix('.weight')}.{part}": t for part, t in made.items()}
            if is_quantized(name)
            else {name: tensor}
        )
    said = CONFIG | (config if told == "by the config" else {})
    card = "---\nbase_model: deepseek-ai/DeepSeek-V3\n---\n"
    with pytest.raises(CheckpointError) as error:
        deepgguf.plan(write_checkpoint(tmp_path / "x", said, tensors, files={"README.md": card}))
    assert error.value.found.startswith(f"quantized by {tool}")
    assert error.value.advice.startswith("convert deepseek-ai/DeepSeek-V3 instead")


def test_f7_a_method_that_deepgguf_has_never_heard_of_does_not_change_what_the_tensors_are(tmp_path):
    folder = source(tmp_path, coded(FORMS["ct-fp8-channel"][1])[0], {"quant_method": "fbgemm_fp8"})
    assert deepgguf.plan(folder).warnings == ()


def test_f7_weights_of_no_known_form_are_called_by_the_config_s_tool(tmp_path):
    tensors = weights(CONFIG)
    name = "model.layers.0.mlp.up_proj"
    tensors[f"{name}.weight"] = zeros("U8", 1, 160, 32)
    tensors[f"{name}.weight_scale"] = zeros("U8", 1, 160, 2)
    with pytest.raises(CheckpointError, match=r"up_proj.weight: dtype U8 by Quark, expected one of BF16, F16, F32"):
        deepgguf.plan(source(tmp_path, tensors, {"quant_method": "quark"}))


def test_f7_a_tool_whose_tensors_have_names_of_their_own_is_known_by_the_config(tmp_path):
    tensors = {}
    for name, tensor in weights(CONFIG).items():
        own = {f"{name.removesuffix('.weight')}.{part}": zeros("I16", 2, 16) for part in ("trellis", "suh", "svh")}
        tensors |= own if is_quantized(name) else {name: tensor}
    with pytest.raises(CheckpointError, match=r"^config.json: its weights are quantized by ExLlamaV3, which deepgguf"):
        deepgguf.plan(source(tmp_path, tensors, {"quant_method": "exl3"}))


@pytest.mark.parametrize("form", ["ct-fp8-channel", "ct-fp8-tensor", "ct-int8-channel"])
def test_f7_quantized_experts_may_be_stacked_in_one_tensor(tmp_path, form):
    """As transformers 5 holds them: gate and up above each other, their scales likewise."""
    config, make = FORMS[form]
    as_coded, as_floats = coded(make)
    mlp = "model.layers.1.mlp.experts"
    parts = {name.rpartition(".")[2] for name in as_coded if name.startswith(f"{mlp}.0.up_proj.")}
    for stack, projections in (("gate_up_proj", ("gate_proj", "up_proj")), ("down_proj", ("down_proj",))):
        for part in parts:
            each = [as_coded.pop(f"{mlp}.{e}.{p}.{part}") for e in range(4) for p in projections]
            shape = (4, len(projections) * each[0].shape[0], *each[0].shape[1:])
            ending = part.removeprefix("weight")
            as_coded[f"{mlp}.{stack}{ending}"] = Stored(each[0].dtype, shape, b"".join(t.data for t in each))
    folder, exact = source(tmp_path, as_coded, config), write_checkpoint(tmp_path / "exact", CONFIG, as_floats)
    for path, checkpoint in ((tmp_path / "x.gguf", folder), (tmp_path / "y.gguf", exact)):
        deepgguf.convert(checkpoint, path, type="f32")
    assert contents(tmp_path / "x.gguf") == contents(tmp_path / "y.gguf")
    assert deepgguf.verify(tmp_path / "x.gguf", folder).differences == ()


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        *((part, ACTIVATIONS) for part in ("input_scale_inv", "act_scale", "kv_cache_scale", "prob_output_scale")),
        ("input_quantizer._amax", "ranges that a quantizer has measured"),
    ],
)
def test_f7_what_a_quantizer_leaves_beside_weights_is_dropped_with_its_reason(tmp_path, part, reason):
    odd = {f"model.layers.0.self_attn.o_proj.{part}": stored(np.ones(1), "F32")}
    (dropped,) = deepgguf.plan(source(tmp_path, weights(CONFIG) | odd)).dropped
    assert (dropped.reason, dropped.tensors) == (reason, 1)


def test_f7_scales_of_weights_that_were_dequantized_are_left_out_by_name(tmp_path):
    odd = {"model.layers.0.self_attn.o_proj.weight_scale_inv": stored(np.ones((1, 1)), "F32")}
    folder = source(tmp_path, weights(CONFIG) | odd)
    with pytest.raises(CheckpointError, match="their scales left behind, leave these out with `drop`"):
        deepgguf.plan(folder)
    assert deepgguf.plan(folder, drop="weight_scale_inv").dropped[0].reason == "asked for"


@pytest.mark.parametrize(("method", "tool"), [("quanto", "Quanto"), ("spqr", "SpQR"), ("marlin", "Marlin")])
def test_f7_tools_whose_tensors_are_not_known_are_named_by_config(tmp_path, method, tool):
    tensors = {name.replace("proj.weight", "proj.code"): tensor for name, tensor in weights(CONFIG).items()}
    with pytest.raises(CheckpointError, match=f"its weights are quantized by {tool}, which deepgguf does not read"):
        deepgguf.plan(source(tmp_path, tensors, {"quant_method": method}))


def test_f7_weights_in_64_bits_are_told_to_be_saved_in_fewer(tmp_path):
    name = "model.layers.0.self_attn.o_proj.weight"
    made = weights(CONFIG)
    odd = Stored("F64", made[name].shape, bytes(8 * int(np.prod(made[name].shape))))
    with pytest.raises(CheckpointError, match=r"dtype F64, .*; save the model in BF16 or F32"):
        deepgguf.plan(source(tmp_path, made | {name: odd}))
