"""The commands that end in Ollama."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import deepgguf
from deepgguf.choices import RunChoices
from deepgguf.cli.commands import planned
from deepgguf.cli.executors import executor_of
from deepgguf.cli.flags import given, in_flags
from deepgguf.cli.output import complain, print_json, print_page, to_stdout, warn
from deepgguf.cli.pages import check_pages, write_pages
from deepgguf.errors import UsageError, printable

if TYPE_CHECKING:
    from deepgguf.run.result import Report


def convert_for_ollama(options: argparse.Namespace) -> None:
    """`deepgguf convert` with --ollama or --print-modelfile."""
    if not options.ollama and not options.print_modelfile:
        choice = "modelfile" if options.modelfile else "ollama_way"
        raise UsageError(f"`{choice}`", "has no meaning without `ollama`", "give the model's name in Ollama with it")
    if options.card:
        found = "contradicts `ollama`: a card goes beside the files, and these go into Ollama's store"
        raise UsageError("`card`", found, "leave it out")
    check_pages(options)
    if options.print_modelfile:
        _print_modelfile(options)
        return
    if options.output is not None and options.ollama_way != "api":
        found = "contradicts `ollama`: the file goes into Ollama's store"
        raise UsageError("`output`", found, 'leave it out, or choose `ollama_way="api"`, which keeps a file')
    from deepgguf.api.output import output_folder
    from deepgguf.api.settings import run_settings
    from deepgguf.ollama.name import parse_name
    from deepgguf.terminal.progress import progress_of

    how = given(options, RunChoices)
    run_settings(output_folder(options.output), **how)
    parse_name(options.ollama)
    made = planned(options)
    if options.json:
        warn(made.warnings)
    total = made.size * (2 if options.ollama_way == "api" else 1)
    ways = {"way": options.ollama_way, "modelfile": options.modelfile}
    with executor_of(options) as by, progress_of(total, printable(options.ollama), by) as progress:
        report = made.to_ollama(options.ollama, **ways, executor=by, progress=progress, say=_say, **how)
    assert report.conversion
    if options.json:
        from deepgguf.terminal.json_views import ollama_view, report_view

        print_json(report_view(made, report.conversion, report.command) | {"ollama": ollama_view(report)})
    else:
        from deepgguf.terminal import summary

        shown = report.conversion if options.sha256 else _without_hashes(report.conversion)
        print_page(summary.render(made, made.folder, shown, [f"run it: {report.command}"]))
    write_pages(options, made, report.conversion)


def import_files(options: argparse.Namespace) -> None:
    """`deepgguf ollama import`."""
    from deepgguf.terminal.progress import progress_of

    total = sum(Path(file).stat().st_size for file in options.files if Path(file).is_file())
    ways = {"way": options.ollama_way, "modelfile": options.modelfile, "overwrite": bool(options.overwrite)}
    with progress_of(total, printable(options.name)) as progress:
        report = deepgguf.import_to_ollama(options.files, options.name, **ways, progress=progress, say=_say)
    if options.json:
        from deepgguf.terminal.json_views import ollama_view

        print_json(ollama_view(report))
    else:
        to_stdout(f"run it: {report.command}\n")


def _without_hashes(report: "Report") -> "Report":
    """The same; what the store needs for the names of its blobs is shown if it is asked for."""
    import msgspec

    files = tuple(msgspec.structs.replace(file, sha256="") for file in report.files)
    return msgspec.structs.replace(report, files=files)


def _print_modelfile(options: argparse.Namespace) -> None:
    made = planned(options)
    modelfile = made.modelfile(options.modelfile)
    to_stdout(modelfile.text([f"{made.folder}/{file.name}" for file in made.files]))


def _say(line: str) -> None:
    complain(in_flags(printable(line, 1000)))
