"""A budget chooses types of at most its bytes, of a smaller error than any mixture that fits, and says them again."""

import json
from functools import cache
from pathlib import Path

import pytest

import deepgguf
from deepgguf import convert, plan, plan_every_type, verify
from deepgguf.checkpoint.checkpoint import read_checkpoint
from deepgguf.choices import Choices, complete
from deepgguf.cli import main
from deepgguf.encodings import PLAIN
from deepgguf.errors import UsageError
from deepgguf.executors.threads import Threads
from deepgguf.files.find import find_files
from deepgguf.fitting.fit import Fitted, fit
from deepgguf.planning.build import build_plan
from deepgguf.planning.parse_options import parse_options
from deepgguf.recipes.recipe_file import spell_recipe
from deepgguf.run.sample_errors import ErrorSampler, Sampling
from golden import GOLDENS

# Below, between and above the mixtures of the sample, in bytes.
BUDGETS = {"v3-bf16": (1_560_000, 2_300_000, 3_000_000), "v2-lite": (2_600_000, 3_600_000, 5_000_000)}
CASES = [(name, budget) for name, budgets in BUDGETS.items() for budget in budgets]
WHOLE = 1 << 40  # weights of a sample that is all of a tensor


def matrix(name: str) -> Path:
    return GOLDENS / "imatrix" / f"imatrix-{name}.gguf"


@pytest.fixture(scope="module")
def fitted(checkpoint):
    @cache
    def fit_once(name: str, budget: int) -> Fitted:
        options = parse_options(complete({"budget": budget, "target": "llama.cpp", "imatrix": matrix(name)}, Choices))
        with find_files(checkpoint(name)) as files:
            return fit(read_checkpoint(files), options, budget, Threads(2))

    return fit_once


def whole_error(made) -> float:
    """What a plan's tensors lose, measured on every weight."""
    sampler = ErrorSampler(made, WHOLE)
    quantized = [t for file in made.files for t in file.tensors if t.info.type not in PLAIN]
    with made.source, made.importance.files:
        return sum(next(sampler.measure(Sampling(t, (t.info.type,)))).errors[0] for t in quantized)


def types(made) -> dict[str, str]:
    return {tensor.info.name: tensor.info.type.name for tensor in made.files[0].tensors}


@pytest.mark.parametrize(("name", "budget"), CASES)
def test_no_mixture_that_fits_has_a_smaller_error(fitted, name, budget):
    found = fitted(name, budget)
    fitting = {mixture: one.error for mixture, one in found.mixtures.items() if one.size <= budget}
    assert fitting
    assert all(found.error < error for error in fitting.values()), (found.error, fitting)


@pytest.mark.parametrize(("name", "budget"), CASES)
def test_no_mixture_that_fits_has_a_smaller_sum_of_squares(fitted, name, budget):
    found = fitted(name, budget)
    assert all(found.squares <= one.squares for one in found.mixtures.values() if one.size <= budget)


@pytest.mark.parametrize(("name", "budget"), CASES)
def test_the_file_fits_and_leaves_little_and_the_recipe_makes_it(checkpoint, tmp_path, fitted, name, budget):
    found = fitted(name, budget)
    (tmp_path / "fitted.toml").write_text(spell_recipe(found.recipe))
    again = plan(checkpoint(name), target="llama.cpp", recipe=tmp_path / "fitted.toml", imatrix=matrix(name))
    with find_files(checkpoint(name)) as files:
        made = build_plan(read_checkpoint(files), found.options)
    assert 0.98 * budget < made.size <= budget
    assert (made.files[0].keys, types(made)) == (again.files[0].keys, types(again))


@pytest.mark.parametrize("name", BUDGETS)
def test_the_error_is_smaller_on_all_weights_too(checkpoint, fitted, tmp_path, name):
    budget = BUDGETS[name][1]
    sizes = plan_every_type(checkpoint(name), target="llama.cpp", imatrix=matrix(name))
    choices = {"target": "llama.cpp", "imatrix": matrix(name)}
    with find_files(checkpoint(name)) as files:
        by_budget = whole_error(build_plan(read_checkpoint(files), fitted(name, budget).options))
    nearest = max((type for type in sizes if sizes[type].size <= budget), key=lambda type: sizes[type].size)
    assert by_budget < whole_error(plan(checkpoint(name), type=nearest, **choices))


def test_the_same_budget_makes_the_same_recipe(checkpoint, tmp_path):
    texts = [plan(checkpoint("v3-fp8"), budget="2M", executor=Threads(jobs)).recipe_text for jobs in (1, 3)]
    assert texts[0] == texts[1]


def test_a_conversion_writes_the_recipe_beside_the_file_and_the_recipe_makes_the_same_bytes(checkpoint, tmp_path):
    convert(checkpoint("v3-bf16"), tmp_path, budget="2M", jobs=2, manifest=False)
    recipe, file = tmp_path / "v3-bf16-2M.recipe.toml", tmp_path / "v3-bf16-2M.gguf"
    assert {path.name for path in tmp_path.iterdir()} == {recipe.name, file.name}
    convert(checkpoint("v3-bf16"), tmp_path / "again.gguf", recipe=recipe, jobs=2)
    assert (tmp_path / "again.gguf").read_bytes() == file.read_bytes()
    verify(file, checkpoint("v3-bf16"), remake=True, jobs=2)
    verify(file, checkpoint("v3-bf16"), remake=True, jobs=2, recipe=recipe)


def test_the_recipe_says_what_it_was_made_for_and_what_the_best_mixture_loses(checkpoint):
    text = plan(checkpoint("v3-bf16"), budget="2300K").recipe_text
    assert 'description = "made for 2,300,000 bytes: error 0.0' in text
    assert ", iq4_nl 0.1" in text


def test_types_that_are_chosen_stay(checkpoint):
    made = plan(checkpoint("v3-bf16"), budget="2M", tensor_types="token_embd=q8_0")
    assert types(made)["token_embd.weight"] == "Q8_0"
    assert made.size <= 2_000_000
    assert '"token_embd"' in made.recipe_text


def test_all_files_of_a_split_set_fit_together(checkpoint):
    made = plan(checkpoint("v3-bf16"), target="llama.cpp", budget="2M", split_max_tensors=7)
    assert len(made.files) > 3
    assert 1_950_000 < made.size <= 2_000_000


def test_a_checkpoint_that_is_stored_in_blocks_keeps_them_and_its_tables(tmp_path):
    """DeepSeek-V4: experts in MXFP4, a routing table of I32."""
    folder = deepgguf.sample("v4", tmp_path / "v4").folder
    file = convert(folder, tmp_path / "x.gguf", target="llama.cpp", budget="3500K", jobs=2).files[0]
    assert file.size <= 3_500_000
    found = types(plan(folder, target="llama.cpp", recipe=tmp_path / "x.recipe.toml"))
    assert {type for name, type in found.items() if "_exps" in name} == {"MXFP4"}
    assert {type for name, type in found.items() if "tid2eid" in name} == {"I32"}
    verify(file.path, folder, remake=True, jobs=2)


def test_a_picture_model_s_encoders_count_and_stay(checkpoint):
    made = plan(checkpoint("ocr"), target="llama.cpp", budget="11M")
    assert [file.kind for file in made.files] == ["text", "mmproj"]
    assert made.size <= 11_000_000


def test_a_budget_that_nothing_fits_is_refused_with_the_least(checkpoint):
    with pytest.raises(UsageError, match=r"`budget`: 100,000 bytes are too few: the smallest types take [\d,]+; allow"):
        plan(checkpoint("v3-bf16"), budget=100_000)


def test_a_budget_for_everything_leaves_every_weight_as_it_is(checkpoint):
    assert set(types(plan(checkpoint("v3-bf16"), budget="1G")).values()) == {"BF16", "F32"}


@pytest.mark.parametrize(
    "choice",
    [{"type": "q4_k_m"}, {"recipe": "experts-mxfp4"}, {"pure": True}, {"leave_output_tensor": True}, {"output_tensor_type": "q8_0"}],
    ids="".join,
)  # fmt: skip
def test_another_choice_of_types_contradicts_a_budget(checkpoint, choice):
    (name,) = choice
    with pytest.raises(UsageError, match=f"`{name}` contradicts `budget`, which chooses types"):
        plan(checkpoint("v3-bf16"), budget="2M", **choice)


@pytest.mark.parametrize("budget", ["much", 0, "0G", -1])
def test_a_budget_that_is_no_size_is_refused(checkpoint, budget):
    with pytest.raises(UsageError, match="`budget`"):
        plan(checkpoint("v3-bf16"), budget=budget)


def test_a_place_for_a_recipe_that_is_not_made_is_refused(checkpoint, tmp_path):
    with pytest.raises(UsageError, match="`write_recipe` has no meaning without `budget`"):
        plan(checkpoint("v3-bf16"), write_recipe=tmp_path / "x.toml")


def test_another_file_in_the_recipe_s_place_is_kept(checkpoint, tmp_path):
    (tmp_path / "x.toml").write_text("mine")
    with pytest.raises(UsageError, match=r"x\.toml: exists, and holds something else"):
        plan(checkpoint("v3-bf16"), budget="2M", write_recipe=tmp_path / "x.toml")
    assert (tmp_path / "x.toml").read_text() == "mine"


def test_a_finished_file_needs_no_budget_to_be_verified(checkpoint, tmp_path):
    path = convert(checkpoint("v3-bf16"), tmp_path / "x.gguf", type="q8_0").files[0].path
    with pytest.raises(deepgguf.UsageError, match="`budget` has no meaning for a finished file"):
        verify(path, checkpoint("v3-bf16"), budget="2M")


def test_the_command_says_where_the_recipe_is(checkpoint, tmp_path, capsys):
    command = ["convert", str(checkpoint("v3-bf16")), "-o", str(tmp_path / "x.gguf"), "--budget", "2M", "--jobs", "2"]
    assert main([*command, "--no-manifest"]) == 0
    assert f"wrote {tmp_path / 'x.recipe.toml'}  the types, for --recipe" in capsys.readouterr().out
    assert main([*command, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe_file"] == str(tmp_path / "x.recipe.toml")


def test_plan_writes_the_recipe_only_where_it_is_told_to(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["plan", str(checkpoint("v3-bf16")), "--budget", "2M"]
    assert main(command) == 0
    assert list(tmp_path.iterdir()) == []
    assert "recipe 2M" in capsys.readouterr().out
    assert main([*command, "--write-recipe", "mine.toml"]) == 0
    assert main([*command[:2], "--recipe", "mine.toml"]) == 0


def test_a_conversion_does_not_begin_where_another_recipe_is_in_the_way(checkpoint, tmp_path):
    (tmp_path / "x.recipe.toml").write_text("mine")
    with pytest.raises(UsageError, match=r"x\.recipe\.toml: exists, and holds something else"):
        convert(checkpoint("v3-bf16"), tmp_path / "x.gguf", budget="2M")
    assert [path.name for path in tmp_path.iterdir()] == ["x.recipe.toml"]
