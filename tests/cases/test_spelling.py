"""F1, F4, F10: one model under many names and cuts gives one file."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from respelled import Tensors, exchanged, fused, named, respelled, stacked, with_config

import deepgguf
from deepgguf import CheckpointError, convert, plan, verify
from deepgguf.executors.threads import Threads
from deepgguf.files.local import LocalFiles
from golden import describe_written
from tiny_checkpoint import V2, V3, Stored, floats, stored, weights, write_checkpoint

SAMPLES = ("v3-bf16", "v3-fp8", "v2-lite", "ocr")
CHOICES = tuple(itertools.product(("ollama", "llama.cpp"), ("auto", "q4_k_m")))
EXPERT = "model.layers.1.mlp.experts.{}.{}_proj.weight"

PREFIXES: dict[str, Callable[[str], str]] = {
    "model.language_model.": lambda name: name.replace("model.", "model.language_model.", 1),
    "language_model.model.": lambda name: f"language_model.{name}",
    "language_model.": lambda name: name.replace("model.", "language_model.", 1),
    "base_model.model.": lambda name: f"base_model.model.{name}",
    "module.": lambda name: f"module.{name}",
    "_orig_mod.": lambda name: f"_orig_mod.{name}",
    "_orig_mod. in every layer": lambda name: name.replace(".mlp.", "._orig_mod.mlp."),
    "module._orig_mod.base_model.model.": lambda name: f"module._orig_mod.base_model.model.{name}",
    "model.model., model.lm_head": lambda name: f"model.{name}",
    "one that no tool is known for": lambda name: f"actor.net.{name}",
    "none": lambda name: name.removeprefix("model."),
}


def nested_in(key: str, *outside: str) -> Callable[[dict], dict]:
    """The whole config within an object, all but the fields named `outside`."""
    return lambda config: {
        **{name: config[name] for name in outside if name in config},
        key: {name: value for name, value in config.items() if name not in outside},
    }


@pytest.fixture(scope="module")
def originals(checkpoint, tmp_path_factory):
    """`originals(sample, target, type)`: the bytes of the original's files, each made once."""
    made: dict[tuple[str, str, str], list[bytes]] = {}

    def bytes_of(*choice: str) -> list[bytes]:
        if choice not in made:
            made[choice] = converted(checkpoint(choice[0]), tmp_path_factory.mktemp("original"), *choice[1:])
        return made[choice]

    return bytes_of


def converted(source: Path, into: Path, target: str, type: str) -> list[bytes]:
    files = convert(source, into, target=target, type=type, jobs=2).files
    verify(files[0].path, source)
    return [Path(file.path).read_bytes() for file in files]


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize(
    "spell", [fused, stacked, lambda t: exchanged(fused(t))], ids=["fused", "stacked", "exchanged"]
)
def test_f1_experts_in_one_tensor_give_the_originals_file(checkpoint, originals, tmp_path, sample, spell):
    source = respelled(checkpoint(sample), tmp_path, spell)
    for number, choice in enumerate(CHOICES):
        (into := tmp_path / f"{number}").mkdir()
        assert converted(source, into, *choice) == originals(sample, *choice)


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("prefix", ["model.language_model.", "none"])
def test_f4_every_sample_under_a_prefix_gives_the_originals_file(checkpoint, originals, tmp_path, sample, prefix):
    source = respelled(checkpoint(sample), tmp_path, named(PREFIXES[prefix]))
    for number, choice in enumerate(CHOICES):
        (into := tmp_path / f"{number}").mkdir()
        assert converted(source, into, *choice) == originals(sample, *choice)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_f4_a_prefix_is_no_other_model(checkpoint, tmp_path, prefix):
    source = respelled(checkpoint("v3-bf16"), tmp_path, named(PREFIXES[prefix]))
    assert read_by_name(source) == read_by_name(checkpoint("v3-bf16"))


def read_by_name(source: Path) -> dict[str, tuple]:
    """Of every output its type and shape and the bytes of its sources."""
    shards = sorted(source.glob("*.safetensors"))
    data = [shard.read_bytes() for shard in shards]
    return {
        t.info.name: (
            t.info.type, t.info.shape,
            [data[b.file][b.offset : b.offset + b.nbytes] for s in t.sources for b in s.blobs],
        )
        for file in plan(source).files
        for t in file.tensors
    }  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("key", ["text_config", "llm_config"])
@pytest.mark.parametrize("outside", [(), ("architectures", "model_type", "quantization_config")], ids=["", "outside"])
def test_f4_a_nested_config_is_read(checkpoint, originals, tmp_path, sample, key, outside):
    source = with_config(respelled(checkpoint(sample), tmp_path, dict), nested_in(key, *outside))
    (into := tmp_path / "into").mkdir()
    assert converted(source, into, "llama.cpp", "auto") == originals(sample, "llama.cpp", "auto")


def test_f4_a_wrapper_of_another_name_holds_the_model_that_its_text_config_names(tmp_path):
    wrapped = {"architectures": ["SomeVisionForConditionalGeneration"], "text_config": V3}
    source = write_checkpoint(tmp_path / "x", wrapped, named(PREFIXES["language_model.model."])(weights(V3)))
    assert plan(source).architecture == "deepseek2"


def test_f4_what_lies_within_a_deepseek_model_that_is_not_known_is_not_taken_for_all_of_it(tmp_path):
    unknown = {"architectures": ["DeepseekOCR3ForCausalLM"], "language_config": V2}
    with pytest.raises(CheckpointError, match="does not support this DeepSeek model"):
        plan(write_checkpoint(tmp_path / "x", unknown, weights(V2)))


def test_f4_the_encoders_of_a_wrapper_are_dropped_with_a_reason(tmp_path):
    wrapped = {"architectures": ["SomeVisionForConditionalGeneration"], "text_config": V3}
    tensors = named(PREFIXES["language_model.model."])(weights(V3))
    for name in ("vision_tower.a.weight", "multi_modal_projector.b.weight"):
        tensors[name] = stored(np.zeros((4, 4)), "BF16")
    (dropped,) = plan(write_checkpoint(tmp_path / "x", wrapped, tensors)).dropped
    assert (dropped.tensors, dropped.example) == (2, "vision_tower.a.weight")
    assert dropped.reason == "encoders of a wrapper, which a model of this architecture does not have"


def test_f4_model_type_names_the_model_where_architectures_does_not(tmp_path):
    config = {name: value for name, value in V3.items() if name != "architectures"} | {"model_type": "deepseek_v3"}
    assert plan(write_checkpoint(tmp_path / "x", config, weights(V3))).architecture == "deepseek2"


def test_f4_automodel_saves_a_tied_model_whole(tmp_path):
    config = V3 | {"architectures": ["DeepseekV3Model"], "tie_word_embeddings": True}
    source = write_checkpoint(
        tmp_path / "x", config, named(PREFIXES["none"])(weights(config | {"architectures": V3["architectures"]}))
    )
    assert not plan(source).dropped


def test_f4_two_models_in_one_folder_are_refused_by_the_names_of_both(tmp_path):
    made = weights(V3)
    both = made | {f"teacher.{name}": tensor for name, tensor in made.items()}
    with pytest.raises(CheckpointError) as error:
        plan(write_checkpoint(tmp_path / "x", V3, both))
    assert str(error.value) == (
        "tensor model.embed_tokens.weight: teacher.model.embed_tokens.weight is there too: the shards hold two models;"
        " keep the shards of one of them"
    )


def test_f4_two_names_for_one_tensor_are_refused_by_both(tmp_path):
    made = weights(V3)
    with pytest.raises(CheckpointError) as error:
        plan(write_checkpoint(tmp_path / "x", V3, made | {"_orig_mod.lm_head.weight": made["lm_head.weight"]}))
    assert str(error.value) == (
        "tensor _orig_mod.lm_head.weight: lm_head.weight is there too, and both are lm_head.weight;"
        " keep the shards of one model"
    )


def test_f1_experts_both_fused_and_single_are_refused(tmp_path):
    made = weights(V3)
    with pytest.raises(CheckpointError, match=r"experts.gate_up_proj: .*experts.0.gate_proj.weight is there too"):
        plan(write_checkpoint(tmp_path / "x", V3, made | fused(made)))


def test_f4_what_is_dropped_is_called_as_the_files_call_it(checkpoint, tmp_path):
    source = respelled(checkpoint("v3-fp8"), tmp_path, lambda t: named(PREFIXES["module."])(fused(t)))
    (original,), (dropped,) = plan(checkpoint("v3-fp8")).dropped, plan(source).dropped
    assert dropped.example.startswith("module.model.layers.3.")
    assert (dropped.nbytes, original.tensors - dropped.tensors) == (original.nbytes, 1)  # gate and up are one


@pytest.mark.parametrize("jobs", [1, 3])
def test_f1_every_number_of_jobs_gives_one_file(checkpoint, tmp_path, jobs):
    source = respelled(checkpoint("v3-fp8"), tmp_path, lambda t: exchanged(fused(t)))
    deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "original.gguf", type="q4_k_m")
    deepgguf.convert(source, tmp_path / "x.gguf", type="q4_k_m", executor=Threads(jobs))
    assert (tmp_path / "x.gguf").read_bytes() == (tmp_path / "original.gguf").read_bytes()


class WholeWindows(LocalFiles):
    """A source whose requests take long."""

    whole_windows = True


def test_f1_exchanged_experts_come_out_the_same_where_windows_are_read_whole(checkpoint, tmp_path):
    source = respelled(checkpoint("v3-fp8"), tmp_path, lambda t: exchanged(fused(t)))
    deepgguf.convert(checkpoint("v3-fp8"), tmp_path / "original.gguf", type="q4_k_m")
    deepgguf.convert(WholeWindows(str(source)), tmp_path / "x.gguf", type="q4_k_m")
    assert (tmp_path / "x.gguf").read_bytes() == (tmp_path / "original.gguf").read_bytes()


SMALL_BLOCKS = V3 | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [32, 32]}}
SMALL_BLOCKS |= {"moe_intermediate_size": 48, "hidden_size": 64}


def written(path: Path) -> dict[str, np.ndarray]:
    return {t.name: np.array(t.data) for t in GGUFReader(path).tensors}


def decoded(tensors: Tensors, name: str, block: int = 32) -> np.ndarray:
    """FP8 times its scales, by NumPy."""
    scales = floats(tensors[f"{name}_scale_inv"])
    codes = np.frombuffer(tensors[name].data, np.uint8).reshape(tensors[name].shape)
    sign, exponent, mantissa = np.where(codes >> 7, -1, 1), (codes >> 3 & 15).astype(int), codes & 7
    values = sign * np.where(exponent, np.ldexp(1 + mantissa / 8, exponent - 7), np.ldexp(mantissa / 8, -6))
    return values * scales.repeat(block, 1).repeat(block, 2)[:, : codes.shape[1], : codes.shape[2]]


@pytest.mark.parametrize("turned", [False, True])
def test_f1_gate_and_up_may_share_a_block_of_scales(tmp_path, turned):
    tensors = fused(weights(SMALL_BLOCKS))
    stack = "model.layers.1.mlp.experts.gate_up_proj"
    tensors[f"{stack}_scale_inv"] = stored(np.arange(1, 1 + 4 * 3 * 2).reshape(4, 3, 2) / 64, "F32")
    expected = decoded(tensors, stack)
    source = write_checkpoint(tmp_path / "x", SMALL_BLOCKS, exchanged(tensors) if turned else tensors)
    convert(source, tmp_path / "x.gguf", type="f32")
    assert not deepgguf.compare(tmp_path / "x.gguf", source).differences
    found = written(tmp_path / "x.gguf")
    np.testing.assert_array_equal(found["blk.1.ffn_gate_exps.weight"], expected[:, :48])
    np.testing.assert_array_equal(found["blk.1.ffn_up_exps.weight"], expected[:, 48:])


def test_f1_gate_and_up_may_have_scales_of_their_own_where_a_block_could_be_shared(tmp_path):
    made = weights(SMALL_BLOCKS)
    original = write_checkpoint(tmp_path / "original" / "x", SMALL_BLOCKS, made)
    source = write_checkpoint(tmp_path / "fused" / "x", SMALL_BLOCKS, fused(made))
    assert converted(source, tmp_path / "fused", "ollama", "auto") == converted(
        original, tmp_path / "original", "ollama", "auto"
    )


@pytest.mark.parametrize(("target", "type"), [("ollama", "F16"), ("llama.cpp", "F32")])
@pytest.mark.parametrize("odd", ["F32", "F16"])
def test_f10_a_stack_is_stored_as_the_target_stores_the_widest_of_its_types(tmp_path, target, type, odd):
    made, name = weights(V3, "BF16"), EXPERT.format(2, "gate")
    made[name] = stored(np.linspace(-1, 1, 16 * 32).reshape(16, 32), odd)
    source = write_checkpoint(tmp_path / "x", V3, made)
    convert(source, tmp_path / "x.gguf", target=target)
    types = {t.name: t.type for t in describe_written(tmp_path / "x.gguf").tensors}
    assert (types["blk.1.ffn_gate_exps.weight"], types["blk.1.ffn_up_exps.weight"]) == (type, "BF16")
    found = written(tmp_path / "x.gguf")["blk.1.ffn_gate_exps.weight"]
    expected = np.array([floats(made[EXPERT.format(i, "gate")]) for i in range(4)])
    np.testing.assert_array_equal(found, expected.astype(found.dtype))
    assert not deepgguf.compare(tmp_path / "x.gguf", source).differences


@pytest.mark.parametrize("type", ["auto", "f16", "q8_0"])
def test_f10_an_expert_kept_high_among_fp8_is_cast_by_itself(checkpoint, tmp_path, type):
    name = "model.layers.1.mlp.experts.2.up_proj.weight"

    def keep_high(tensors: Tensors) -> Tensors:
        high = stored(np.full((256, 256), 0.25), "BF16")
        return {n: high if n == name else t for n, t in tensors.items() if n != f"{name}_scale_inv"}

    source = respelled(checkpoint("v3-fp8"), tmp_path, keep_high)
    convert(source, tmp_path / "x.gguf", type=type)
    convert(checkpoint("v3-fp8"), tmp_path / "original.gguf", type=type)
    assert not deepgguf.compare(tmp_path / "x.gguf", source).differences
    mine, original = written(tmp_path / "x.gguf"), written(tmp_path / "original.gguf")
    odd = [
        i for i in range(6) if (mine["blk.1.ffn_up_exps.weight"][i] != original["blk.1.ffn_up_exps.weight"][i]).any()
    ]
    assert odd == [2]


def joined(tensors: Tensors) -> Tensors:
    """As vLLM and SGLang have an MLP: gate and up in one matrix."""
    made: Tensors = {}
    for name, tensor in tensors.items():
        up = tensors.get(name.replace("gate_proj", "up_proj"))
        if "gate_proj" in name and up:
            shape = (2 * tensor.shape[0], tensor.shape[1])
            made[name.replace("gate_proj", "gate_up_proj")] = Stored(tensor.dtype, shape, tensor.data + up.data)
        elif ".up_proj" not in name:
            made[name] = tensor
    return made


@pytest.mark.parametrize("sample", ["v3-bf16", "v3-fp8"])
@pytest.mark.parametrize("spell", [joined, lambda t: joined(fused(t))], ids=["every MLP", "beside fused experts"])
def test_f1_gate_and_up_in_one_matrix_give_the_originals_file(checkpoint, originals, tmp_path, sample, spell):
    source = respelled(checkpoint(sample), tmp_path, spell)
    for number, choice in enumerate([("ollama", "auto"), ("llama.cpp", "q4_k_m")]):
        (into := tmp_path / f"{number}").mkdir()
        assert converted(source, into, *choice) == originals(sample, *choice)


@pytest.mark.parametrize("key", ["language_model_config", "thinker_config", "model_config"])
def test_f4_whatever_a_wrapper_calls_the_language_models_config_it_is_read(tmp_path, key):
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    wrapped = {"architectures": ["SomeVisionForConditionalGeneration"], "vision_config": vision, key: V3}
    assert plan(write_checkpoint(tmp_path / "x", wrapped, weights(V3))).architecture == "deepseek2"


def test_f4_of_two_objects_that_could_be_the_language_models_config_none_is_taken(tmp_path):
    wrapped = {"architectures": ["SomeForConditionalGeneration"], "talker": V3, "thinker": V3}
    with pytest.raises(CheckpointError, match="belongs to another family"):
        plan(write_checkpoint(tmp_path / "x", wrapped, weights(V3)))


@pytest.mark.parametrize(
    "name",
    ["model.image_newline", "model.visual.blocks.0.norm.weight", "model.mm_projector.0.weight", "aligner.weight"],
)
def test_f4_whatever_a_wrapper_calls_its_encoders_they_are_dropped(tmp_path, name):
    tensors = named(PREFIXES["model.language_model."])(weights(V3)) | {name: stored(np.zeros(4), "BF16")}
    (dropped,) = plan(write_checkpoint(tmp_path / "x", V3, tensors)).dropped
    assert (dropped.example, dropped.reason.startswith("encoders of a wrapper")) == (name, True)
