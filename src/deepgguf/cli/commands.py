"""The commands: each takes its parsed arguments, calls the library, and writes what came of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deepgguf
from deepgguf.choices import Choices, QuantizeChoices, RunChoices
from deepgguf.cli import several
from deepgguf.cli.executors import executor_of
from deepgguf.cli.flags import given, named
from deepgguf.cli.output import print_json, print_page, to_stdout, warn
from deepgguf.cli.pages import check_pages, write_model_cards, write_pages
from deepgguf.cli.planned import one_planned
from deepgguf.errors import UsageError, printable

if TYPE_CHECKING:
    from deepgguf.api.planned import Plan


def convert(options: argparse.Namespace) -> None:
    """`deepgguf convert`."""
    from deepgguf.api.output import output_folder
    from deepgguf.api.settings import run_settings

    if options.ollama or options.print_modelfile or options.modelfile or options.ollama_way:
        from deepgguf.cli.ollama import convert_for_ollama

        several.refuse_for_ollama(options)
        convert_for_ollama(options)
        return
    how = _how(options)
    run_settings(output_folder(options.output), **how)  # what makes no sense is said before the work
    if several.are_asked_for(options):
        several.run(several.planned(options), options, how)
    else:
        _run(planned(options), options, how)


def quantize(options: argparse.Namespace) -> None:
    """`deepgguf quantize`."""
    from deepgguf.api.output import output_folder
    from deepgguf.api.settings import run_settings

    how = _how(options)
    jobs = run_settings(output_folder(options.output), **how)[1].jobs
    if several.are_asked_for(options):
        plans = several.planned_quantize(options)
        if options.dry_run:
            several.show(plans, options, jobs)
        else:
            several.run(plans, options, how)
        return
    made = one_planned(
        lambda: deepgguf.plan_quantize(options.source, options.output, **given(options, QuantizeChoices))
    )
    if options.dry_run:
        _show(made, options, jobs)
    else:
        _run(made, options, how)


def _how(options: argparse.Namespace) -> dict[str, Any]:
    """The choices of a run whose report and model card can be written: a card has the SHA-256 of every file."""
    from deepgguf.api.output import output_folder

    check_pages(options, None if several.are_asked_for(options) else output_folder(options.output))
    return given(options, RunChoices) | ({"sha256": True} if options.card else {})


def _run(made: "Plan", options: argparse.Namespace, how: dict[str, Any]) -> None:
    """Carries the plan out, and says what came of it."""
    from deepgguf.terminal.progress import progress_of
    from deepgguf.terminal.run_command import run_command

    if options.json:
        warn(made.warnings)
    total = sum(file.nbytes for file in made.files)
    with executor_of(options) as by, progress_of(total, printable(made.files[0].name), by) as progress:
        report = made.run(progress=progress, executor=by, **how)
    if options.json:
        from deepgguf.terminal.json_views import report_view

        print_json(report_view(made, report, run_command(made, made.folder)))
    else:
        from deepgguf.terminal import summary

        print_page(summary.render(made, made.folder, report))
    write_pages(options, made, report)
    write_model_cards(options, [(made, report)])


def plan(options: argparse.Namespace) -> None:
    """`deepgguf plan`."""
    from deepgguf.api.settings import run_settings

    jobs = run_settings(Path(), **given(options, RunChoices))[1].jobs
    check_pages(options)
    if named(options, "type") == ["all"]:
        _plan_every_type(options, jobs)
        return
    if several.are_asked_for(options):
        several.show(several.planned(options), options, jobs)
        return
    _show(planned(options), options, jobs)


def _show(made: "Plan", options: argparse.Namespace, jobs: int) -> None:
    """The plan as a page or as JSON."""
    from deepgguf.terminal import room

    write_pages(options, made)
    needed = room.memory(made, made.folder, jobs)
    if options.json:
        from deepgguf.terminal.json_views import plan_view
        from deepgguf.terminal.run_command import run_command

        print_json(plan_view(made, needed, jobs, run_command(made, made.folder)))
        return
    from deepgguf.terminal import plan_page

    disk, free = room.free_disk(made.folder), room.free_memory()
    print_page(plan_page.render(made, memory=needed, jobs=jobs, free_disk=disk, free_memory=free))


def _plan_every_type(options: argparse.Namespace, jobs: int) -> None:
    from deepgguf.run.speed import estimated_seconds

    for name in ("output", "report", "layout"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"`{name}`", "has no meaning for --type all, which only compares the types", "leave it out"
            )
    if len(named(options, "target")) > 1:
        raise UsageError("`target`", "names several engines, and --type all compares the types for one", "name one")
    choices = {name: choice for name, choice in given(options, Choices).items() if name != "type"}
    types = deepgguf.plan_every_type(options.source, cache=options.cache, **choices)
    seconds = {type: estimated_seconds(found.weights, jobs) for type, found in types.items()}
    if options.json:
        rows = types.items()
        print_json({t: {"size": r.size, "bits_per_weight": r.bits_per_weight, "seconds": seconds[t]} for t, r in rows})
        return
    from deepgguf.terminal import plan_page

    print_page(plan_page.render_types(types, seconds, jobs))


def planned(options: argparse.Namespace) -> "Plan":
    """The plan that the arguments ask for."""
    return one_planned(
        lambda: deepgguf.plan(options.source, options.output, cache=options.cache, **given(options, Choices))
    )


def inspect(options: argparse.Namespace) -> None:
    """`deepgguf inspect`."""
    check_pages(options)
    description = deepgguf.inspect(options.file)
    write_pages(options, description)
    if options.json:
        print_json(description)
        return
    from deepgguf.terminal import inspect_tables

    print_page(inspect_tables.render(description, options.tensors))


def verify(options: argparse.Namespace) -> None:
    """`deepgguf verify`."""
    from deepgguf.api.proof import refuse_differences
    from deepgguf.terminal.progress import progress_of
    from deepgguf.verification.run import bytes_to_check

    check_pages(options)
    choices = given(options, Choices) | given(options, RunChoices)
    if options.parts:
        deepgguf.check_parts(options.file)
    total = bytes_to_check(options.file, times=(options.source is not None) + options.remake)
    with executor_of(options) as by, progress_of(total, printable(Path(options.file).name), by) as progress:
        how = {"remake": options.remake, "progress": progress, "cache": options.cache}
        report = deepgguf.compare(options.file, options.source, executor=by, **how, **choices)
    if options.json:
        print_json(report)
    else:
        from deepgguf.terminal import verify_summary

        print_page(verify_summary.render(report))
    write_pages(options, options.file, report)
    refuse_differences(report)


def sample(options: argparse.Namespace) -> None:
    """`deepgguf sample`."""
    made = deepgguf.sample(
        options.kind,
        options.folder,
        size=options.size,
        shards=options.shards,
        scatter=options.scatter,
        sparse=options.sparse,
        tokenizer=options.tokenizer,
    )
    if options.json:
        print_json(made)
    else:
        from deepgguf.terminal.sizes import counted, size

        to_stdout(
            f"{printable(made.folder)}: {made.tensors:,} tensors, {size(made.nbytes)}, "
            f"{counted(made.shards, 'shard')}\n"
        )
