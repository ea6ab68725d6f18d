"""DeepSeek-OCR of any widths, depths and expert counts: names, order, shapes, types and weights come out by rule.

The rule stands here once more, written from the published model and the two targets' naming, and the package `gguf`
reads the outputs.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepgguf import convert
from tiny_checkpoint import OCR, Stored, floats, write_checkpoint


class Rule(NamedTuple):
    """A source tensor, its names for Ollama and for llama.cpp, its shape (row-major)."""

    source: str
    ollama: str
    llamacpp: str
    shape: tuple[int, ...]


def with_bias(source: str, ollama: str, llamacpp: str, *shape: int) -> Iterator[Rule]:
    yield Rule(f"{source}.weight", f"{ollama}.weight", f"{llamacpp}.weight", shape)
    yield Rule(f"{source}.bias", f"{ollama}.bias", f"{llamacpp}.bias", shape[:1])


def language_rules(c: dict[str, Any]) -> Iterator[Rule]:
    """All but the experts, which are in `expert_stacks`."""
    hidden = c["hidden_size"]
    kv = hidden // c["num_attention_heads"] * c["num_key_value_heads"]

    def same(source: str, name: str, *shape: int) -> Rule:
        return Rule(source, name, name, shape)

    yield same("model.embed_tokens.weight", "token_embd.weight", c["vocab_size"], hidden)
    yield same("model.norm.weight", "output_norm.weight", hidden)
    yield same("lm_head.weight", "output.weight", c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        p, q = f"model.layers.{n}.", f"blk.{n}."
        yield same(f"{p}input_layernorm.weight", f"{q}attn_norm.weight", hidden)
        yield same(f"{p}post_attention_layernorm.weight", f"{q}ffn_norm.weight", hidden)
        for kind, rows in (("q", hidden), ("k", kv), ("v", kv)):
            yield same(f"{p}self_attn.{kind}_proj.weight", f"{q}attn_{kind}.weight", rows, hidden)
        yield same(f"{p}self_attn.o_proj.weight", f"{q}attn_output.weight", hidden, hidden)
        if n < c["first_k_dense_replace"]:
            yield from mlp(f"{p}mlp.", f"{q}ffn_", "", c["intermediate_size"], hidden)
        else:
            yield same(f"{p}mlp.gate.weight", f"{q}ffn_gate_inp.weight", c["n_routed_experts"], hidden)
            width = c["moe_intermediate_size"] * c["n_shared_experts"]
            yield from mlp(f"{p}mlp.shared_experts.", f"{q}ffn_", "_shexp", width, hidden)


def mlp(source: str, name: str, suffix: str, width: int, hidden: int) -> Iterator[Rule]:
    for kind, shape in (("gate", (width, hidden)), ("up", (width, hidden)), ("down", (hidden, width))):
        full = f"{name}{kind}{suffix}.weight"
        yield Rule(f"{source}{kind}_proj.weight", full, full, shape)


def expert_stacks(c: dict[str, Any]) -> dict[str, list[Rule]]:
    stacks: dict[str, list[Rule]] = {}
    for n in range(c["first_k_dense_replace"], c["num_hidden_layers"]):
        for expert in range(c["n_routed_experts"]):
            source = f"model.layers.{n}.mlp.experts.{expert}."
            for rule in mlp(source, f"blk.{n}.ffn_", "_exps", c["moe_intermediate_size"], c["hidden_size"]):
                stacks.setdefault(rule.ollama, []).append(rule)
    return stacks


def sam_rules(c: dict[str, Any], image_size: int) -> Iterator[Rule]:
    s, o, m, width, grid = "model.sam_model.", "s.", "v.sam.", c["width"], image_size // 16
    yield Rule(f"{s}pos_embed", f"{o}position_embd", f"{m}pos_embd.weight", (1, grid, grid, width))
    yield from with_bias(f"{s}patch_embed.proj", f"{o}patch_embd", f"{m}patch_embd", width, 3, 16, 16)
    for n in range(c["layers"]):
        block = f"blk.{n}."
        window = grid if n in c["global_attn_indexes"] else 14
        for source, llamacpp, shape in (
            ("norm1", "pre_ln", (width,)), ("norm2", "post_ln", (width,)),
            ("attn.qkv", "attn.qkv", (3 * width, width)), ("attn.proj", "attn.out", (width, width)),
            ("mlp.lin1", "mlp.lin1", (4 * width, width)), ("mlp.lin2", "mlp.lin2", (width, 4 * width)),
        ):  # fmt: skip
            yield from with_bias(f"{s}blocks.{n}.{source}", f"{o}{block}{source}", f"{m}{block}{llamacpp}", *shape)
        for axis in "hw":
            relative = (2 * window - 1, width // c["heads"])
            source, llamacpp = f"attn.rel_pos_{axis}", f"attn.pos_{axis}.weight"
            yield Rule(f"{s}blocks.{n}.{source}", f"{o}{block}{source}", f"{m}{block}{llamacpp}", relative)
    first, second = c["downsample_channels"]
    for name, shape in (
        ("neck.0", (256, width, 1, 1)), ("neck.2", (256, 256, 3, 3)),
        ("net_2", (first, 256, 3, 3)), ("net_3", (second, first, 3, 3)),
    ):  # fmt: skip
        yield Rule(f"{s}{name}.weight", f"{o}{name}.weight", f"{m}{name}.weight", shape)
    for name in ("neck.1", "neck.3"):
        yield from with_bias(f"{s}{name}", f"{o}{name}", f"{m}{name}", 256)


def clip_rules(c: dict[str, Any]) -> Iterator[Rule]:
    s, width, patch = "model.vision_model.", c["width"], c["patch_size"]
    positions = (c["image_size"] // patch) ** 2 + 1
    e = f"{s}embeddings."
    yield Rule(f"{e}class_embedding", "v.class_embd", "v.class_embd", (width,))
    yield Rule(f"{e}patch_embedding.weight", "v.patch_embd.weight", "v.patch_embd.weight", (width, 3, patch, patch))
    table = "v.position_embd.weight"
    yield Rule(f"{e}position_embedding.weight", table, table, (positions, width))
    yield from with_bias(f"{s}pre_layrnorm", "v.pre_layrnorm", "v.pre_ln", width)
    for n in range(c["layers"]):
        for source, llamacpp, shape in (
            ("layer_norm1", "ln1", (width,)), ("layer_norm2", "ln2", (width,)),
            ("self_attn.qkv_proj", "attn_qkv", (3 * width, width)), ("self_attn.out_proj", "attn_out", (width, width)),
            ("mlp.fc1", "ffn_up", (4 * width, width)), ("mlp.fc2", "ffn_down", (width, 4 * width)),
        ):  # fmt: skip
            p, q = f"{s}transformer.layers.{n}.", f"v.blk.{n}."
            yield from with_bias(f"{p}{source}", f"{q}{source}", f"{q}{llamacpp}", *shape)


def vision_rules(config: dict[str, Any]) -> Iterator[Rule]:
    vision, hidden = config["vision_config"], config["language_config"]["hidden_size"]
    clip, sam = vision["width"]["clip-l-14-224"], vision["width"]["sam_vit_b"]
    yield from sam_rules(sam, vision["image_size"])
    yield from clip_rules(clip)
    features = clip["width"] + sam["downsample_channels"][1]
    yield from with_bias("model.projector.layers", "mm.layers", "mm.model.fc", hidden, features)
    for name in ("image_newline", "view_seperator"):
        yield Rule(f"model.{name}", f"mm.{name}", f"v.{name}", (hidden,))


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    layers, sam_layers, experts = number(1, 12), number(1, 12), number(1, 13)
    heads, sam_heads, clip_heads = number(1, 3), number(1, 3), number(1, 3)
    patch = draw(st.sampled_from([7, 14, 16]))
    language = OCR["language_config"] | {
        "num_hidden_layers": layers,
        "first_k_dense_replace": number(0, layers),
        "num_attention_heads": heads,
        "num_key_value_heads": draw(st.sampled_from([n for n in range(1, heads + 1) if heads % n == 0])),
        "hidden_size": heads * number(1, 6),
        "intermediate_size": number(1, 20),
        "moe_intermediate_size": number(1, 9),
        "n_routed_experts": experts,
        "num_experts_per_tok": number(1, experts),
        "n_shared_experts": number(1, 3),
        "max_position_embeddings": number(1, 9999),
    }
    clip = {"heads": clip_heads, "layers": number(1, 12), "width": clip_heads * number(1, 6), "patch_size": patch,
            "image_size": patch * number(1, 4)}  # fmt: skip
    sam = {
        "heads": sam_heads,
        "layers": sam_layers,
        "width": sam_heads * number(1, 6),
        "downsample_channels": [number(1, 5), number(1, 5)],
        "global_attn_indexes": draw(st.lists(st.integers(0, sam_layers - 1), unique=True, max_size=4).map(sorted)),
    }
    vision = {"image_size": 16 * number(1, 5), "width": {"clip-l-14-224": clip, "sam_vit_b": sam}}
    return OCR | {"language_config": language, "vision_config": vision}


def made_up(config: dict[str, Any]) -> dict[str, Stored]:
    """BF16 weights, different for each tensor, in an order that no converter uses."""
    rng = np.random.default_rng(7)
    rules = [*language_rules(config["language_config"]), *vision_rules(config)]
    for stack in expert_stacks(config["language_config"]).values():
        rules += stack
    made = {}
    for rule in sorted(rules, key=lambda rule: rule.source[::-1]):
        bits = rng.normal(0, 0.1, rule.shape).astype("<f4").view("<u4") >> 16
        made[rule.source] = Stored("BF16", rule.shape, bits.astype("<u2").tobytes())
    return made


def read(path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


def assert_holds(tensor: Any, expected: np.ndarray, type: str, shape: tuple[int, ...]) -> None:
    assert (tensor.tensor_type.name, tuple(tensor.shape.tolist()[::-1])) == (type, shape), tensor.name
    if type == "BF16":
        found = (tensor.data.view("<u2").astype("<u4") << 16).view("<f4")
    else:
        found = tensor.data
        expected = expected.astype({"F16": "<f2", "F32": "<f4"}[type])
    assert found.tobytes() == expected.tobytes(), tensor.name


def ollama_type(rule: Rule) -> str:
    name = rule.ollama
    if len(rule.shape) == 1 or name.endswith((".ffn_gate_inp.weight", ".bias", "rel_pos_h", "rel_pos_w")):
        return "F32"
    if name in ("v.position_embd.weight", "s.position_embd"):
        return "F32"
    return "F16" if name.startswith(("v.", "s.", "mm.")) else "BF16"


MMPROJ_MATRICES = re.compile(
    r"mm\.model\.fc\.weight|v\.blk\.\d+\.(attn_qkv|attn_out|ffn_up|ffn_down)\.weight"
    r"|v\.sam\.blk\.\d+\.(attn\.qkv|attn\.out|mlp\.lin1|mlp\.lin2)\.weight"
)

BY_RULE = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`folder()`: a new one each time."""
    return lambda: tmp_path_factory.mktemp("ocr")


def file_order(names: list[str]) -> list[str]:
    """By block number, what belongs to no block after all blocks, then by name, bytewise."""

    def key(name: str) -> tuple[float, bytes]:
        block = re.match(r"blk\.(\d+)\.", name)
        return (int(block[1]) if block else float("inf"), name.encode())

    return sorted(names, key=key)


@BY_RULE
@given(config=configs())
def test_ollamas_file_follows_from_the_config(folder, config):
    made, output = made_up(config), folder()
    convert(write_checkpoint(output / "x", config, made), output / "x.gguf", jobs=2)
    tensors, language = read(output / "x.gguf"), config["language_config"]
    rules, stacks = [*language_rules(language), *vision_rules(config)], expert_stacks(language)
    assert list(tensors) == file_order([*(rule.ollama for rule in rules), *stacks])
    for rule in rules:
        assert_holds(tensors[rule.ollama], floats(made[rule.source]), ollama_type(rule), rule.shape)
    for name, stack in stacks.items():
        expected = np.stack([floats(made[rule.source]) for rule in stack])
        assert_holds(tensors[name], expected, "BF16", expected.shape)


@BY_RULE
@given(config=configs())
def test_llamacpps_files_follow_from_the_config(folder, config):
    made, output = made_up(config), folder()
    convert(write_checkpoint(output / "x", config, made), output / "x.gguf", target="llama.cpp", jobs=2)
    language, stacks = [*language_rules(config["language_config"])], expert_stacks(config["language_config"])
    text, mmproj = read(output / "x.gguf"), read(output / "mmproj-x.gguf")
    assert sorted(text) == sorted([*(rule.llamacpp for rule in language), *stacks])
    for rule in language:
        always_f32 = len(rule.shape) == 1 or rule.llamacpp.endswith("ffn_gate_inp.weight")
        assert_holds(text[rule.llamacpp], floats(made[rule.source]), "F32" if always_f32 else "BF16", rule.shape)
    for name, stack in stacks.items():
        expected = np.stack([floats(made[rule.source]) for rule in stack])
        assert_holds(text[name], expected, "BF16", expected.shape)
    vision = [*vision_rules(config)]
    assert sorted(mmproj) == sorted(rule.llamacpp for rule in vision)
    for rule in vision:
        type = "BF16" if MMPROJ_MATRICES.fullmatch(rule.llamacpp) else "F32"
        shape = (1, *rule.shape) if rule.llamacpp == "v.view_seperator" else rule.shape
        assert_holds(mmproj[rule.llamacpp], floats(made[rule.source]), type, shape)


@BY_RULE
@given(config=configs())
def test_the_keys_say_what_the_config_says(folder, config):
    output = folder()
    source = write_checkpoint(output / "x", config, made_up(config))
    language, vision = config["language_config"], config["vision_config"]
    clip, sam = vision["width"]["clip-l-14-224"], vision["width"]["sam_vit_b"]
    convert(source, output / "o.gguf", jobs=2)
    convert(source, output / "l.gguf", target="llama.cpp", jobs=2)
    counts = {
        "block_count": language["num_hidden_layers"],
        "leading_dense_block_count": language["first_k_dense_replace"],
        "embedding_length": language["hidden_size"],
        "attention.head_count": language["num_attention_heads"],
        "attention.head_count_kv": language["num_key_value_heads"],
        "expert_count": language["n_routed_experts"],
        "expert_used_count": language["num_experts_per_tok"],
        "expert_feed_forward_length": language["moe_intermediate_size"],
        "expert_shared_count": language["n_shared_experts"],
        "context_length": language["max_position_embeddings"],
    }
    encoders = {
        "vision.block_count": clip["layers"],
        "vision.embedding_length": clip["width"],
        "vision.image_size": clip["image_size"],
        "vision.patch_size": clip["patch_size"],
    }
    for path, prefix, expected in (
        ("o.gguf", "deepseekocr", counts | encoders | {
            "vision.head_count": clip["heads"], "sam.block_count": sam["layers"], "sam.embedding_length": sam["width"],
            "sam.head_count": sam["heads"], "sam.global_attention_indexes": sam["global_attn_indexes"]}),
        ("l.gguf", "deepseek2-ocr", counts),
        ("mmproj-l.gguf", "clip", encoders | {
            "vision.attention.head_count": clip["heads"], "vision.feed_forward_length": 4 * clip["heads"],
            "vision.projection_dim": language["hidden_size"], "vision.sam.block_count": sam["layers"],
            "vision.sam.embedding_length": sam["width"], "vision.sam.head_count": sam["heads"]}),
    ):  # fmt: skip
        fields = GGUFReader(output / path).fields
        assert {key: fields[f"{prefix}.{key}"].contents() for key in expected} == expected
