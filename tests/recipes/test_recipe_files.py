"""Recipe files: what they may say, and which tensor gets what by them."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgguf import convert, plan, verify
from deepgguf.encodings import WRITTEN
from deepgguf.errors import UsageError
from deepgguf.files.recipe_text import read_recipe_text, shipped_recipes
from deepgguf.formats.gguf.types import GGMLType
from deepgguf.planning.machines import smallest_machine
from deepgguf.recipes.recipe import RECIPES
from deepgguf.recipes.recipe_file import (
    RecipeEntry,
    RecipeFile,
    layers_of,
    must_be_written,
    parse_recipe,
    spell_recipe,
)

EXPERTS = """
description = "experts at three bits"
base = "q8_0"

[[tensors]]
components = "ffn_down_exps"
layers = "1"
type = "q4_k"
comment = "the first"

[[tensors]]
components = ["ffn_*_exps"]
type = "q3_k"
"""


def entry(components, layers=(), type=GGMLType.Q8_0) -> RecipeEntry:
    return RecipeEntry(tuple(components.split()), layers, type)


def types(made) -> dict[str, str]:
    return {tensor.info.name: tensor.info.type.name for tensor in made.files[0].tensors}


@pytest.fixture
def recipe(tmp_path):
    def write(text: str):
        (tmp_path / "mine.toml").write_text(text)
        return tmp_path / "mine.toml"

    return write


def test_the_first_entry_with_component_and_layer_decides_and_the_base_the_rest(checkpoint, recipe):
    found = types(plan(checkpoint("v3-bf16"), recipe=recipe(EXPERTS)))
    experts = {name: type for name, type in found.items() if "_exps" in name}
    assert experts.pop("blk.1.ffn_down_exps.weight") == "Q4_K"
    assert set(experts.values()) == {"Q3_K"}
    assert found["blk.1.ffn_down_shexp.weight"] == "Q8_0"


def test_the_file_is_called_after_the_recipe(checkpoint, recipe):
    made = plan(checkpoint("v3-bf16"), recipe=recipe(EXPERTS))
    assert (made.files[0].name, made.type, made.recipe) == ("v3-bf16-MINE.gguf", "q8_0", "mine")


def test_types_that_are_chosen_one_by_one_come_before_the_recipe(checkpoint, recipe):
    found = types(plan(checkpoint("v3-bf16"), recipe=recipe(EXPERTS), tensor_types="ffn_up_exps=q6_k"))
    assert (found["blk.2.ffn_up_exps.weight"], found["blk.2.ffn_gate_exps.weight"]) == ("Q6_K", "Q3_K")


def test_a_pure_recipe_leaves_out_the_rules_of_its_base(checkpoint, recipe):
    assert types(plan(checkpoint("v3-bf16"), recipe=recipe('base = "q4_k_m"\npure = true')))["output.weight"] == "Q4_K"


@pytest.mark.parametrize(
    ("name", "matches"),
    [
        ("blk.3.ffn_up_exps.weight", True),
        ("blk.5.ffn_gate_exps.weight", True),
        ("blk.61.ffn_up_exps.weight", True),
        ("blk.4.ffn_up_exps.weight", False),
        ("blk.3.ffn_up_shexp.weight", False),
        ("blk.3.ffn_up_exps.bias", False),
        ("output.weight", False),
        ("v.blk.3.ffn_up_exps.weight", False),
    ],
)
def test_a_component_is_the_whole_name_between_layer_and_weight(name, matches):
    assert entry("ffn_*_exps", ((3, 3), (5, 9999))).matches(name) is matches


def test_a_tensor_of_no_layer_is_its_own_component():
    assert entry("output token_embd").matches("token_embd.weight")
    assert not entry("output", ((0, 9),)).matches("output.weight")


names = st.text(string.ascii_lowercase + "_*.0", min_size=1)
entries = st.builds(
    RecipeEntry,
    st.lists(names, min_size=1).map(tuple),
    st.sets(st.integers(0, 9999)).map(layers_of),
    st.sampled_from(sorted(WRITTEN)),
    st.text(st.characters(exclude_categories=["C"])),
)


@given(
    st.builds(
        RecipeFile,
        st.sampled_from(sorted(RECIPES)),
        st.lists(entries).map(tuple),
        st.text(st.characters(exclude_categories=["C"])),
        st.booleans(),
    )
)
def test_what_is_written_is_read_as_the_same_recipe(recipe):
    numbered = tuple(
        RecipeEntry(e.components, e.layers, e.type, e.comment, f"r, entry {i}") for i, e in enumerate(recipe.entries, 1)
    )
    expected = RecipeFile(recipe.base, numbered, recipe.description, recipe.pure)
    assert parse_recipe(spell_recipe(recipe), "r") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('base = "q8_0"\n=', r"mine\.toml: is not TOML: .*line 2"),
        ('base = "q8_0"\nx = ' + "9" * 5000, r"mine\.toml: is not TOML: "),
        ("", r"mine\.toml: has no member base; name the mixture for all other tensors: q4_0, "),
        ('base = "q9"', r"mine\.toml: base = 'q9' is not a mixture; choose one of"),
        ("base = 8", r"mine\.toml: base is not text"),
        ('base = "q8_0"\npure = 1', r"mine\.toml: pure is not true or false"),
        ('base = "q8_0"\ntypes = 1', r"mine\.toml: 'types' is unknown; choose from description, base, pure, tensors"),
        ('base = "q8_0"\ntensors = 1', r"mine\.toml: tensors is not a list of tables"),
        ('base = "q8_0"\ntensors = [1]', r"mine\.toml, entry 1: is not a table; write it as \[\[tensors\]\]"),
        (EXPERTS.replace('"q3_k"', '"q17"'), r"mine\.toml, entry 2: type = 'q17' is not a type; choose one of f32, "),
        (EXPERTS.replace('type = "q3_k"', ""), r"mine\.toml, entry 2: has no member type"),
        (EXPERTS.replace('"q3_k"', '"i32"'), r"mine\.toml, entry 2: deepgguf does not write i32; choose one of"),
        (EXPERTS.replace('["ffn_*_exps"]', "[]"), r"mine\.toml, entry 2: has no member components"),
        (EXPERTS.replace('["ffn_*_exps"]', '["blk.1 x"]'), r"mine\.toml, entry 2: has no member components"),
        (EXPERTS.replace('"1"', '"one"'), r"mine\.toml, entry 1: layers = 'one' are not layers"),
        (EXPERTS.replace('"1"', '"3-1"'), r"mine\.toml, entry 1: layers = '3-1' are not layers"),
        (EXPERTS.replace('"1"', "[1]"), r"mine\.toml, entry 1: layers = \[1\] are not layers"),
        (EXPERTS.replace("comment", "reason"), r"mine\.toml, entry 1: 'reason' is unknown; choose from components, "),
    ],
)  # fmt: skip
def test_a_faulty_recipe_is_refused_by_line_or_entry(checkpoint, recipe, text, said):
    with pytest.raises(UsageError, match=said):
        plan(checkpoint("v3-bf16"), recipe=recipe(text))


def test_a_recipe_that_is_not_there_is_refused_with_the_names_of_those_that_are(checkpoint):
    with pytest.raises(UsageError, match=r"nor a recipe of deepgguf's: experts-iq1_m, experts-iq2_xxs, experts-mxfp4"):
        plan(checkpoint("v3-bf16"), recipe="experts")


def test_a_type_beside_a_recipe_is_refused(checkpoint):
    with pytest.raises(UsageError, match="`type` contradicts `recipe`, which names its base"):
        plan(checkpoint("v3-bf16"), type="q4_k_m", recipe="experts-mxfp4")


def test_an_entry_that_matches_no_tensor_is_said(checkpoint, recipe):
    made = plan(checkpoint("v3-bf16"), recipe=recipe(EXPERTS.replace('"1"', '"7-9"')))
    assert "no tensor's name matches ffn_down_exps in layers 7-9, so nothing gets the type Q4_K by it" in made.warnings


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_that_ships_has_comments_and_a_description(name):
    recipe = parse_recipe(read_recipe_text(name)[1], name)
    assert recipe.description
    assert all(entry.comment for entry in recipe.entries)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_that_ships_gives_every_expert_its_type_and_q8_0_to_the_rest(checkpoint, name):
    recipe = parse_recipe(read_recipe_text(name)[1], name)
    expected = {component: entry.type.name for entry in recipe.entries for component in entry.components}
    assert expected.keys() == {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}
    assert recipe.base == "q8_0"


def test_mxfp4_experts_ship_and_convert(checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path / "x.gguf", recipe="experts-mxfp4", jobs=2)
    found = types(plan(checkpoint("v3-bf16"), recipe="experts-mxfp4"))
    assert {type for name, type in found.items() if "_exps" in name} == {"MXFP4"}
    assert {type for name, type in found.items() if "_exps" not in name} == {"Q8_0", "F32"}
    assert verify(tmp_path / "x.gguf", checkpoint("v3-bf16"), remake=True, jobs=2).source.remade
    verify(tmp_path / "x.gguf", checkpoint("v3-bf16"), remake=True, jobs=2, recipe="experts-mxfp4")


def test_a_type_that_is_not_written_is_named_with_its_entry():
    unwritten = RecipeFile("q8_0", (RecipeEntry(("output",), (), GGMLType.I64, where="mine, entry 1"),))
    with pytest.raises(UsageError, match="mine, entry 1: deepgguf does not write i64"):
        must_be_written(unwritten)


@pytest.mark.parametrize(
    ("nbytes", "machine"),
    [(0, 96), (84 << 30, 96), ((84 << 30) + 1, 128), (108 * 10**9, 128), (448 << 30, 512), ((448 << 30) + 1, None)],
)
def test_a_machine_fits_that_keeps_an_eighth_of_its_memory_free(nbytes, machine):
    assert smallest_machine(nbytes) == machine


def test_plan_says_which_machine_the_files_fit(checkpoint, capsys):
    from deepgguf.cli import main

    main(["plan", str(checkpoint("v3-bf16")), "--recipe", "experts-mxfp4"])
    page = capsys.readouterr().out
    assert "q8_0, recipe experts-mxfp4" in page
    assert "a machine with 96 GiB of memory, with 96 GiB left for the context" in page
    main(["plan", str(checkpoint("v3-bf16")), "--recipe", "experts-mxfp4", "--json"])
    assert json.loads(capsys.readouterr().out)["machine"] == 96
