"""Every tensor of every quantized golden has the type that the recipe chooses, and the file type is the recipe's."""

import json
from pathlib import Path

import pytest
from gguf import GGUFReader

from deepgguf.formats.gguf.types import GGMLType
from deepgguf.recipes.choice import Exceptions, Pin, TypeChoices, choose_types
from deepgguf.recipes.patterns import TypePattern
from deepgguf.recipes.recipe import RECIPES
from deepgguf.recipes.tensor import ModelFacts, TensorToType

GOLDENS = Path(__file__).parent.parent / "goldens"
OLLAMA = Exceptions(
    kept_prefixes=("v.", "s.", "mm."),
    pins=(
        Pin(("q4_k_s", "q4_k_m"), TypePattern(r"attn_(q_a|q_b|kv_a_mqa|k_b|v_b)\.weight", GGMLType.Q8_0)),
    ),
)  # fmt: skip


def golden(path: Path):
    return json.loads(path.read_text())


def facts(keys) -> ModelFacts:
    architecture = keys["general.architecture"]["value"]

    def value(key: str) -> int:
        return keys[f"{architecture}.{key}"]["value"]

    return ModelFacts(
        n_layer=value("block_count"),
        n_expert=value("expert_count"),
        n_head=value("attention.head_count"),
        n_head_kv=value("attention.head_count_kv"),
    )


def unquantized(contents) -> list[TensorToType]:
    return [TensorToType(t["name"], tuple(t["shape"][::-1]), GGMLType[t["type"]]) for t in contents["tensors"]]


def importance_sizes(checkpoint: str) -> dict[str, int]:
    """Read by the package gguf: these tests are of recipes, not of the reader."""
    tensors = GGUFReader(GOLDENS / "imatrix" / f"imatrix-{checkpoint}.gguf").tensors
    return {t.name.removesuffix(".in_sum2"): t.n_elements for t in tensors if t.name.endswith(".in_sum2")}


def chosen(unquantized_golden, recipe: str, **more):
    exceptions = more.pop("exceptions", Exceptions())
    choices = TypeChoices(RECIPES[recipe.lower()], **more)
    typed = choose_types(facts(unquantized_golden["kv"]), unquantized(unquantized_golden), choices, exceptions)
    return {tensor.name: tensor.type.name for tensor in typed}


def expected(path: Path):
    contents = golden(path)
    return {t["name"]: t["type"] for t in contents["tensors"]}, contents["kv"]["general.file_type"]["value"]


def split_name(path: Path) -> tuple[str, str]:
    checkpoint, recipe = path.stem.rsplit("-", 1)
    return checkpoint.removesuffix("-dat"), recipe


def files(folder: str) -> list:
    paths = sorted((GOLDENS / folder).glob("*.json"))
    assert paths
    return [pytest.param(path, id=path.stem) for path in paths]


@pytest.mark.parametrize("path", files("quantized"))
def test_types_are_those_of_llama_quantize(path):
    checkpoint, recipe = split_name(path)
    types, file_type = expected(path)
    assert chosen(golden(GOLDENS / "llama.cpp" / f"{checkpoint}.json"), recipe) == types
    assert RECIPES[recipe.lower()].file_type == file_type


@pytest.mark.parametrize("path", files("imatrix"))
def test_types_with_an_importance_matrix_are_those_of_llama_quantize(path):
    checkpoint, recipe = split_name(path)
    types, file_type = expected(path)
    source = golden(GOLDENS / "llama.cpp" / f"{checkpoint}.json")
    assert chosen(source, recipe, importance=importance_sizes(checkpoint)) == types
    assert RECIPES[recipe.lower()].file_type == file_type


@pytest.mark.parametrize("path", files("quantized-ollama"))
def test_types_on_ollamas_layout_are_those_of_llama_quantize_with_ollamas_exceptions(path):
    checkpoint, recipe = split_name(path)
    types, file_type = expected(path)
    assert chosen(golden(GOLDENS / "ollama" / f"{checkpoint}.json"), recipe, exceptions=OLLAMA) == types
    assert RECIPES[recipe.lower()].file_type == file_type


@pytest.mark.parametrize("recipe", ["q8_0", "q4_k_m", "q3_k_m", "mxfp4_moe"])
def test_deepseekocr_gets_the_types_of_its_language_model_alone_and_keeps_its_encoders(recipe):
    source = golden(GOLDENS / "ollama" / "ocr.json")
    types, _ = expected(GOLDENS / "quantized" / f"ocr-{recipe.upper()}.json")
    encoders = {t["name"]: t["type"] for t in source["tensors"] if t["name"].startswith(("v.", "s.", "mm."))}
    assert chosen(source, recipe, exceptions=OLLAMA) == types | encoders
