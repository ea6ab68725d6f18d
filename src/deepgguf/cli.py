"""The command line: arguments in, calls of the API, tables and JSON out. Everything heavy is imported when used."""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from deepgguf.errors import DeepggufError, UsageError, printable
from deepgguf.version import __version__

if TYPE_CHECKING:
    from deepgguf.planning.schema import Plan

_EXIT = """\
exit status:
  0    done
  1    the checkpoint is at fault
  2    wrong usage, or the output exists
  3    a file is not what it should be
  4    input or output failed, or the disk is full; one can go on with --resume
  70   a bug in deepgguf
  130  interrupted (SIGINT); 143 SIGTERM; 129 SIGHUP
"""

_CONVERT = """\
examples:
  deepgguf convert DeepSeek-V3                           one file for Ollama, in this folder
  deepgguf convert DeepSeek-V3 -o /models/ --type q4_k_m quantized on the way, no intermediate file
  deepgguf convert DeepSeek-V3 --target llama.cpp --split-max-size 48G
  deepgguf convert DeepSeek-OCR --target llama.cpp       writes the mmproj beside the model
"""

_PLAN = """\
examples:
  deepgguf plan DeepSeek-V3                  what would be written, dropped, needed
  deepgguf plan DeepSeek-V3 --type q4_k_m --json
  deepgguf plan DeepSeek-V3 --type all       every type with its size
"""

_INSPECT = """\
examples:
  deepgguf inspect model.gguf
  deepgguf inspect model-00001-of-00009.gguf --tensors --json
"""

_VERIFY = """\
examples:
  deepgguf verify model.gguf                 structure, and the hashes in model.gguf.json
  deepgguf verify model.gguf DeepSeek-V3     every tensor and key against the checkpoint
  deepgguf verify model-00001-of-00009.gguf DeepSeek-V3 --json
"""

_SAMPLE = """\
examples:
  deepgguf sample v3 v3-sample --shards 2
  deepgguf sample v3-fp8 v3 --size full --sparse --shards 163 --scatter
"""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """A signal that ends the run; pieces in hand are finished first."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    for number in _SIGNALS:
        signal.signal(number, _stop)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        status = run(options)
        sys.stdout.flush()
        return status
    except DeepggufError as error:
        _complain(str(error))
        return error.exit_status
    except _Stopped as stopped:
        name = signal.Signals(stopped.number).name
        _complain(f"{name}: stopped; if a part file was begun, the same command with --resume goes on")
        return 128 + stopped.number
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        _complain("out of memory; give fewer --jobs")
        return 4
    except OSError as error:
        where = printable(error.filename) if error.filename else "the system"
        _complain(f"{where}: {error.strerror or printable(error)}; check the disk and the permissions")
        return 4
    except Exception as error:
        _complain(f"a bug: {_origin(error)}; please report it, with the command")
        return 70


def _origin(error: BaseException) -> str:
    """What was raised and in which line of which file, on one line."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    place = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else "nowhere"
    return printable(f"{type(error).__name__} in {place}: {error}")


def _stop(number: int, frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    raise _Stopped(number)


def _complain(text: str) -> None:
    sys.stderr.write(f"deepgguf: {text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="deepgguf",
        description="DeepSeek checkpoints (SafeTensors) to GGUF for Ollama and llama.cpp, in one pass, with proof.",
        epilog=_EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"deepgguf {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_convert(commands)
    _add_plan(commands)
    _add_inspect(commands)
    _add_verify(commands)
    _add_sample(commands)
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str, epilog: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help,
        epilog=epilog + "\n" + _EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """The choices that decide the bytes, the same for `plan` and `convert`."""
    parser.add_argument(
        "source", metavar="SRC", help="a folder with config.json and shards, or a model in the Hub's cache"
    )
    parser.add_argument("-o", "--output", metavar="OUT", help="a file, or a folder (default: NAME-TYPE.gguf here)")
    parser.add_argument("--target", default="ollama", help="ollama (the default) or llama.cpp")
    parser.add_argument("--type", default="auto", help="auto, f32, f16, bf16, or a quantized type such as q8_0, q4_k_m")
    parser.add_argument(
        "--only", default="", metavar="FILE", help="text or mmproj: only that file of a model with pictures"
    )
    parser.add_argument(
        "--split-max-size", type=_size, default=0, metavar="SIZE", help="cut into files of at most 48G, 500M, …"
    )
    parser.add_argument(
        "--split-max-tensors", type=int, default=0, metavar="N", help="cut into files of at most N tensors"
    )
    parser.add_argument("--part", type=int, default=0, metavar="K", help="only file K of a split set")
    parser.add_argument("--imatrix", metavar="FILE", help="an importance matrix (GGUF or the older form)")
    parser.add_argument(
        "--tensor-type", action="append", default=[], metavar="PATTERN=TYPE", help="the type of these tensors"
    )
    parser.add_argument("--output-tensor-type", default="", metavar="TYPE", help="the type of output.weight")
    parser.add_argument("--token-embedding-type", default="", metavar="TYPE", help="the type of token_embd.weight")
    parser.add_argument(
        "--jobs", type=_positive, default=0, metavar="N", help="threads (default: this process's processors)"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def _add_convert(commands: Any) -> None:
    parser = _command(commands, "convert", _convert, "Convert a checkpoint to GGUF.", _CONVERT)
    _add_choices(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--restart", action="store_true", help="discard what an interrupted run left")
    parser.add_argument("--allow-nonfinite", action="store_true", help="convert NaN and Inf as they are")
    parser.add_argument("--report-error", action="store_true", help="measure the quantization error of every tensor")
    parser.add_argument("--no-manifest", action="store_true", help="do not write OUT.json with the tensors' digests")
    parser.add_argument("--sha256", action="store_true", help="add the SHA-256 of each file (a second read)")


def _add_plan(commands: Any) -> None:
    parser = _command(commands, "plan", _plan, "Show what convert would do; nothing is written.", _PLAN)
    _add_choices(parser)


def _add_inspect(commands: Any) -> None:
    epilog = _INSPECT
    parser = _command(commands, "inspect", _inspect, "Show what a GGUF file holds.", epilog)
    parser.add_argument("file", metavar="FILE.gguf", help="a GGUF file, or any part of a split set")
    parser.add_argument("--tensors", action="store_true", help="every tensor on a line of its own")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def _add_verify(commands: Any) -> None:
    epilog = _VERIFY
    parser = _command(commands, "verify", _verify, "Check a GGUF file, alone or against its source.", epilog)
    parser.add_argument("file", metavar="FILE.gguf", help="a GGUF file, or any part of a split set")
    parser.add_argument("source", metavar="SRC", nargs="?", help="the checkpoint that it was made from")
    parser.add_argument(
        "--jobs", type=_positive, default=0, metavar="N", help="threads (default: this process's processors)"
    )
    parser.add_argument("--sha256", action="store_true", help="also the SHA-256 of each file (a second read)")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def _add_sample(commands: Any) -> None:
    epilog = _SAMPLE
    parser = _command(commands, "sample", _sample, "Make a checkpoint with real structure and made-up weights.", epilog)
    parser.add_argument("kind", choices=("v3", "v3-fp8", "v3-tied", "v2-lite", "ocr"), metavar="KIND",
                        help="v3, v3-fp8, v3-tied, v2-lite or ocr")  # fmt: skip
    parser.add_argument("folder", metavar="DIR", help="a folder that does not exist or is empty")
    parser.add_argument(
        "--size", default="sample", metavar="SIZE", help="sample (a few MB), bench (4.4 GB), full (689 GB)"
    )
    parser.add_argument("--shards", type=int, default=1, metavar="N", help="number of files")
    parser.add_argument("--scatter", action="store_true", help="part scales from their weights")
    parser.add_argument("--sparse", action="store_true", help="real headers, holes instead of weights")
    parser.add_argument("--tokenizer", metavar="DIR", help="take tokenizer.json and tokenizer_config.json from here")
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def _size(text: str) -> int:
    """48G, 500M, 1024K or bytes, in powers of 1000 as llama-gguf-split has them."""
    units = {"K": 1000, "M": 1000**2, "G": 1000**3}
    number = text.rstrip("KMG")
    try:
        return int(number) * (units[text[len(number) :]] if number != text else 1)
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{printable(text)!r} is no size such as 48G or 500M") from None


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{printable(text)!r} is no number from 1")
    return int(text)


def _make_plan(options: argparse.Namespace) -> "Plan":
    from deepgguf import api

    # A plan is a few hundred thousand objects that all live to the end: looking for garbage among them finds none, not
    # now and not when the process ends.
    gc.disable()
    made = api.plan(
        options.source,
        options.output,
        target=options.target,
        type=options.type,
        only=options.only,
        part=options.part,
        split_max_size=options.split_max_size,
        split_max_tensors=options.split_max_tensors,
        imatrix=options.imatrix,
        tensor_types=options.tensor_type,
        output_tensor_type=options.output_tensor_type,
        token_embedding_type=options.token_embedding_type,
    )
    gc.freeze()
    gc.enable()
    return made


def _convert(options: argparse.Namespace) -> int:
    from deepgguf import api
    from deepgguf.run.settings import Settings
    from deepgguf.terminal.progress import progress_of
    from deepgguf.verification.quantization_error import ErrorMeter

    if options.resume and options.restart:
        raise UsageError("--resume", "contradicts --restart", "give one of them")
    plan = _make_plan(options)
    settings = Settings(
        folder=api.output_folder(options.output),
        jobs=options.jobs or api.available_processors(),
        overwrite=options.overwrite,
        resume="resume" if options.resume else "restart" if options.restart else "",
        allow_nonfinite=options.allow_nonfinite,
        manifest=not options.no_manifest,
        sha256=options.sha256,
    )
    if options.json:
        for warning in plan.warnings:
            _complain(f"warning: {printable(warning, 1000)}")
    total = sum(tensor.info.nbytes for file in plan.files for tensor in file.tensors)
    meter = ErrorMeter() if options.report_error else None
    with progress_of(total, printable(plan.files[0].name)) as progress:
        report = api.carry_out(
            plan, settings, imatrix=options.imatrix, progress=progress, observe=meter.observe if meter else None
        )
    errors = meter.results() if meter else ()
    if options.json:
        from deepgguf.terminal.json_views import report_view

        _print_json(report_view(plan, report, errors))
    else:
        from deepgguf.terminal import summary

        _print(summary.render(plan, report, errors))
    return 0


def _plan_every_type(options: argparse.Namespace) -> int:
    from deepgguf import api
    from deepgguf.run.speed import estimated_seconds

    jobs = options.jobs or api.available_processors()
    types = api.plan_every_type(options.source, target=options.target, imatrix=options.imatrix)
    seconds = {type: estimated_seconds(found.weights, jobs) for type, found in types.items()}
    if options.json:
        rows = types.items()
        _print_json({t: {"size": r.size, "bits_per_weight": r.bits_per_weight, "seconds": seconds[t]} for t, r in rows})
        return 0
    from deepgguf.terminal import plan_page

    _print(plan_page.render_types(types, seconds, jobs))
    return 0


def _plan(options: argparse.Namespace) -> int:
    if options.type == "all":
        return _plan_every_type(options)
    from deepgguf import api

    plan = _make_plan(options)
    jobs = options.jobs or api.available_processors()
    if options.json:
        from deepgguf.terminal.json_views import plan_view

        _print_json(plan_view(plan, jobs))
        return 0
    from deepgguf.planning.needs import memory_needed
    from deepgguf.terminal import plan_page
    from deepgguf.terminal.room import free_disk, free_memory

    disk, memory = free_disk(api.output_folder(options.output)), free_memory()
    page = plan_page.render(plan, memory=memory_needed(plan, jobs), jobs=jobs, free_disk=disk, free_memory=memory)
    _print(page)
    return 0


def _inspect(options: argparse.Namespace) -> int:
    from deepgguf import api

    description = api.inspect(options.file)
    if options.json:
        _print_json(description)
        return 0
    from deepgguf.terminal import inspect_tables

    _print(inspect_tables.render(description, options.tensors))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from deepgguf import api
    from deepgguf.terminal.progress import progress_of
    from deepgguf.verification.run import bytes_to_check

    total = bytes_to_check(options.file, with_source=options.source is not None)
    with progress_of(total, printable(Path(options.file).name)) as progress:
        report = api.compare(options.file, options.source, jobs=options.jobs, sha256=options.sha256, progress=progress)
    if options.json:
        _print_json(report)
    else:
        from deepgguf.terminal import verify_summary

        _print(verify_summary.render(report))
    api.refuse_differences(report)
    return 0


def _sample(options: argparse.Namespace) -> int:
    from deepgguf import api

    made = api.sample(
        options.kind,
        options.folder,
        size=options.size,
        shards=options.shards,
        scatter=options.scatter,
        sparse=options.sparse,
        tokenizer=options.tokenizer,
    )
    if options.json:
        _print_json(made)
    else:
        from deepgguf.terminal.sizes import size

        sys.stdout.write(
            f"{printable(made.folder)}: {made.tensors:,} tensors, {size(made.nbytes)}, {made.shards} shards\n"
        )
    return 0


def _print(page: Any) -> None:
    from rich.console import Console

    # On a terminal lines fold at its width; in a file or a pipe they stay whole.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(page)
    # Not by the console itself: it fills lines with blanks, and ends the process with status 1 if a pipe is closed.
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _print_json(value: object) -> None:
    import msgspec

    def plain(value: object) -> object:
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)

    encoded = msgspec.json.encode(value, enc_hook=plain)
    sys.stdout.write(msgspec.json.format(encoded, indent=1).decode() + "\n")
