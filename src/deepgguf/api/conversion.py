"""Checkpoints to GGUF files: one plan, several, one of every type, and a conversion at once."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Unpack, cast

import msgspec

from deepgguf.api.output import file_name, folder_of_several, output_folder
from deepgguf.api.planned import Plan, one_of_several, placed
from deepgguf.api.settings import apart, run_settings
from deepgguf.api.source import Source, all_processors, opened, readers_of
from deepgguf.checkpoint.checkpoint import Checkpoint, read_checkpoint
from deepgguf.choices import Choices, ConversionChoices, Layout, StrPath, Target, checked, complete, parse_size
from deepgguf.errors import UsageError
from deepgguf.executors.executor import Cluster, Executor, Progress
from deepgguf.fitting.fit import fit
from deepgguf.fitting.write import is_free
from deepgguf.planning.build import build_plan, model_of, plan_model
from deepgguf.planning.options import TYPES, Options, check_options
from deepgguf.planning.parse_options import parse_options
from deepgguf.planning.schema import Plan as PlannedConversion
from deepgguf.planning.several import (
    SharedArrays,
    first_choice,
    listed,
    of_types,
    refuse_one_name,
    refuse_one_output_only,
)
from deepgguf.planning.totals import PlanTotals, totals
from deepgguf.recipes.choice import UnfitError
from deepgguf.recipes.recipe import NEED_IMPORTANCE
from deepgguf.recipes.recipe_file import spell_recipe
from deepgguf.run.result import Report
from deepgguf.run.whole_text import write_whole


@checked
def plan(
    source: Source,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    cache: StrPath | None = None,
    **choices: Unpack[Choices],
) -> Plan:
    """What converting the checkpoint `source` would do; nothing is written.

    `source`: a folder, a model in Hugging Face's cache, an address (hf:ORGANIZATION/NAME, https://…/), or `Files`.
    `output`: a file, a folder, or None for the default name in the current folder; s3://BUCKET/PREFIX/ is a folder too.
    `executor` reads the headers of the shards. What is read of an address is kept in the folder `cache`, if there is
    one, as the Hub's cache keeps it. The choices are those of `deepgguf.Choices`:

        deepgguf.plan("DeepSeek-V3", type="q4_k_m", tensor_types={"attn_kv_b": "q8_0"}).run(jobs=4)

    Raises CheckpointError if checkpoint or importance matrix is at fault, UsageError if the choices are, OutputError
    if something cannot be read.
    """
    chosen = complete(choices, Choices)
    options = parse_options(chosen, file_name(output))
    folder, recipe = output_folder(output), ""
    if chosen["budget"] is not None and chosen["write_recipe"] is None and not isinstance(folder, Path):
        found = "needs a place on this machine for the types that it chooses, and the files go to S3"
        raise UsageError("`budget`", found, "name a file for them: `write_recipe`")
    with opened(source, cache) as files:
        checkpoint = read_checkpoint(files, executor or readers_of(files))
        if chosen["budget"] is not None:
            fitted = fit(checkpoint, options, parse_size(chosen["budget"], "budget"), executor or all_processors())
            options, recipe = fitted.options, spell_recipe(fitted.recipe)
        made = build_plan(checkpoint, options)
    whole = placed(made, folder, chosen["part"])
    if recipe and chosen["write_recipe"] is not None:
        if is_free(Path(chosen["write_recipe"]), recipe):
            write_whole(Path(chosen["write_recipe"]), recipe)
        recipe = ""
    return msgspec.structs.replace(whole, recipe_text=recipe)


@checked
def plan_several(
    source: Source,
    output: StrPath | None = None,
    *,
    types: str | Sequence[str] = (),
    targets: str | Sequence[str] = (),
    layout: Layout = "flat",
    executor: Executor | None = None,
    cache: StrPath | None = None,
    **choices: Unpack[Choices],
) -> tuple[Plan, ...]:
    """The plans of converting `source` to several types, for one target or several; the headers are read once.

    `output` is a folder. Files for several targets go into a folder of each target below it, for they have the same
    names; `layout` "folders" gives each plan one of its own, called as its file. Without `types` or `targets` there is
    one, that of `plan`. Other choices count for all plans, those of quantized files for the types that are quantized:

        plans = deepgguf.plan_several("DeepSeek-V3", "models/", types=("q8_0", "q4_k_m"), imatrix="imatrix.gguf")
        deepgguf.run_together(plans, jobs=8)

    Errors are those of `plan`; `budget`, which chooses types, is refused.
    """
    kinds, engines = listed(types), listed(targets) or ("ollama",)
    refuse_one_output_only(kinds, choices)
    first = first_choice("type", kinds, choices) | first_choice("target", engines, choices)
    for engine in engines:
        complete({"target": engine}, Choices)
    chosen = complete({**choices, **first}, Choices)
    base = folder_of_several(output)
    options = parse_options(chosen)
    with opened(source, cache) as files:
        checkpoint = read_checkpoint(files, executor or readers_of(files))
        arrays = SharedArrays()
        made = [_plans(checkpoint, options, kinds, cast(Target, engine), arrays) for engine in engines]
    found = []
    for engine, plans in zip(engines, made, strict=True):
        folder = base / engine if len(engines) > 1 else base
        found += [one_of_several(each, folder, base, chosen["part"], layout) for each in plans]
    return tuple(found)


def _plans(
    checkpoint: Checkpoint, options: Options, types: Sequence[str], target: Target, arrays: SharedArrays
) -> list[PlannedConversion]:
    """The plans for one target; what the model is, is found out once."""
    for_target = of_types(msgspec.structs.replace(options, target=target), types)
    model = model_of(checkpoint, for_target[0])
    for each in for_target:
        check_options(each)
    plans = [arrays.shared(plan_model(model, checkpoint, each)) for each in for_target]
    refuse_one_name(plans)
    return plans


@checked
def plan_every_type(
    source: Source, *, executor: Executor | None = None, cache: StrPath | None = None, **choices: Unpack[Choices]
) -> dict[str, PlanTotals]:
    """Size and weights of every type that `source` can be converted to; those that need an importance matrix with one.
    A mixture whose type does not fit the model's rows is left out.

    What only quantized files have (`imatrix`, `tensor_types` and so on) counts for these. Errors are those of `plan`;
    `type`, `recipe`, `budget` and `part` are refused.
    """
    chosen = complete(choices, Choices)
    for name in ("type", "recipe", "budget", "part"):
        if name in choices:
            raise UsageError(f"`{name}`", "contradicts a plan of every type", "leave it out")
    options = parse_options(chosen)
    with opened(source, cache) as files:
        checkpoint = read_checkpoint(files, executor or readers_of(files))
    types = [type for type in TYPES if type not in NEED_IMPORTANCE or options.imatrix is not None]
    found = {}
    for type in types:
        with suppress(UnfitError):
            found[type] = totals(build_plan(checkpoint, options.of_type(type)))
    return found


@checked
def convert(
    source: Source,
    output: StrPath | None = None,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    cache: StrPath | None = None,
    **choices: Unpack[ConversionChoices],
) -> Report:
    """Converts the checkpoint `source` to `output`: plans it, and carries the plan out.

    The choices are those of `plan` and of `Plan.run`, as are all other arguments, the report and the errors.
    """
    what, how = apart(choices)
    run_settings(output_folder(output), **how)  # what makes no sense is said before the work
    near = None if isinstance(executor, Cluster) else executor  # headers are read where the plan is made
    made = plan(source, output, executor=near, cache=cache, **what)
    return made.run(executor=executor, progress=progress, **how)
