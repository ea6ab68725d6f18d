"""The arguments of every command. The choices of a conversion come from their declaration, see deepgguf.choices."""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from deepgguf.choices import CHOICES_OF_A_FILE, CHOICES_OF_QUANTIZE, Choices, PatchChoices, QuantizeChoices, RunChoices
from deepgguf.cli import commands, gguf_commands, pages
from deepgguf.cli.completion import SHELLS, completion
from deepgguf.cli.endings import EXIT_STATUSES
from deepgguf.cli.executors import add_executor
from deepgguf.cli.flags import MANY, add_choices, section, whole_number
from deepgguf.cli.ollama import import_files
from deepgguf.cli.others_flags import SAME, answer
from deepgguf.cli.output import complain, to_stdout
from deepgguf.errors import printable
from deepgguf.samples.configs import KINDS
from deepgguf.version import __version__

_CONVERT = """\
examples:
  deepgguf convert DeepSeek-V3                           one file for Ollama, in this folder
  deepgguf convert DeepSeek-V3 -o /models/ --type q4_k_m
                                                         quantized on the way, no intermediate file
  deepgguf convert DeepSeek-V3 -o /models/ --type q8_0,q4_k_m --target ollama,llama.cpp
                                                         four files, one reading
  deepgguf convert DeepSeek-V3 --target llama.cpp --split-max-size 48G
  deepgguf convert DeepSeek-V3 --target llama.cpp --split-max-size 48G --part 3/8
                                                         task 3 of a job array of 8 (docs/cluster.md)
  deepgguf convert DeepSeek-OCR --target llama.cpp       writes the mmproj beside the model
  deepgguf convert DeepSeek-OCR --ollama ocr             straight into Ollama: then `ollama run ocr`
  deepgguf convert DeepSeek-OCR --print-modelfile        the Modelfile that Ollama would get
  deepgguf convert hf:deepseek-ai/DeepSeek-V3 -o /models/
                                                         straight from the Hugging Face Hub
  deepgguf convert DeepSeek-V3 --target llama.cpp --like hf:ORGANIZATION/NAME/FILE.gguf
  deepgguf convert https://host/DeepSeek-V3/ --resume    from a web server, after the network failed
  deepgguf convert s3://checkpoints/DeepSeek-V3/ -o s3://models/deepseek/
                                                         from and to object stores (docs/clouds.md)
  deepgguf convert hf:deepseek-ai/DeepSeek-V3 --type q4_k_m -o V3-GGUF/ --report-error --report v3.html --card
                                                         with an HTML page and a model card (docs/report.md)
"""

_IMPORT = """\
examples:
  deepgguf ollama import V3-Q4_K_M.gguf v3               one file
  deepgguf ollama import V3-00001-of-00009.gguf v3:q4    a split set by any of its files; they are joined
  deepgguf ollama import ocr.gguf mmproj-ocr.gguf ocr    a model and its mmproj
"""

_PLAN = """\
examples:
  deepgguf plan DeepSeek-V3                  what would be written, dropped, needed
  deepgguf plan DeepSeek-V3 --type q4_k_m --json
  deepgguf plan DeepSeek-V3 --type all       every type with its size
  deepgguf plan DeepSeek-V3 --type q8_0,q4_k_m,iq2_xxs --imatrix imatrix.gguf
                                             several outputs of one reading, and what they need together
  deepgguf plan hf:deepseek-ai/DeepSeek-V3@v1.0
  deepgguf plan DeepSeek-V3 --type q4_k_m --report plan.html
"""

_QUANTIZE = """\
examples:
  deepgguf quantize DeepSeek-V3-BF16.gguf --type q4_k_m
  deepgguf quantize V3-BF16-00001-of-00030.gguf --type q4_k_m --keep-split -o /models/
  deepgguf quantize V3-BF16.gguf --type q8_0,q5_k_m,q4_k_m -o /models/ --layout folders
  deepgguf quantize V3-BF16.gguf --type iq2_xxs --imatrix imatrix.gguf --dry-run
  deepgguf quantize V3-Q8_0.gguf --type q4_k_m --allow-requantize
  deepgguf quantize hf:ORGANIZATION/NAME/BF16/V3-BF16-00001-of-00030.gguf --type q4_k_m
"""

_MERGE = """\
examples:
  deepgguf merge V3-Q4_K_M-00001-of-00009.gguf          writes V3-Q4_K_M.gguf; the other files are found beside it
"""

_SPLIT = """\
examples:
  deepgguf split V3-Q4_K_M.gguf --split-max-size 48G     writes V3-Q4_K_M-00001-of-00009.gguf and so on
  deepgguf split V3-Q4_K_M.gguf --split-max-tensors 128 --no-tensor-first-split
"""

_PATCH = """\
examples:
  deepgguf patch V3.gguf --mend -o V3-mended.gguf        all that `deepgguf doctor V3.gguf` can mend
  deepgguf patch V3.gguf --from DeepSeek-V3 -o new.gguf  groups of experts, special tokens, chat template
  deepgguf patch V3.gguf --pre deepseek-v3               in place; V3.gguf.undo keeps the old header
  deepgguf patch V3.gguf --undo
"""

_DOCTOR = """\
examples:
  deepgguf doctor V3.gguf
  deepgguf doctor V3-00001-of-00009.gguf --json
"""

_A_GGUF = "a GGUF file, or any file of a split set: here, hf:ORGANIZATION/NAME/FILE.gguf, https://… or s3://…"
_OF_QUANTIZE = {
    "target": "whose choice of types: ollama or llama.cpp (default: by the layout of IN.gguf)",
    "type": "copy, f32, f16, bf16, or a quantized type such as q8_0 or q4_k_m",
}

_INSPECT = """\
examples:
  deepgguf inspect model.gguf
  deepgguf inspect model-00001-of-00009.gguf --tensors --json
  deepgguf inspect hf:ORGANIZATION/NAME/model.gguf       its header alone is read
"""

_VERIFY = """\
examples:
  deepgguf verify model.gguf                 structure, and the hashes in model.gguf.json
  deepgguf verify model.gguf DeepSeek-V3     every tensor and key against the checkpoint
  deepgguf verify model-00001-of-00009.gguf DeepSeek-V3 --json
  deepgguf verify model.gguf hf:deepseek-ai/DeepSeek-V3
  deepgguf verify V3-Q4_K_M.gguf V3-BF16-00001-of-00030.gguf
                                             what quantize, merge, split or patch made
  deepgguf verify --parts model-00001-of-00009.gguf
                                             after a job array (docs/cluster.md)
  deepgguf verify --remake model.gguf DeepSeek-V3 --imatrix imatrix.gguf
                                             makes every piece again and compares bytes
"""

_REPORT = """\
examples:
  deepgguf report V3-Q4_K_M.gguf                         writes V3-Q4_K_M.html
  deepgguf report V3-Q4_K_M.gguf V3-Q3_K_M.gguf          compares the two
  deepgguf report monday.html tuesday.html -o both.html  two pages of --report, with their errors
"""

_SAMPLE = """\
examples:
  deepgguf sample v3 v3-sample --shards 2
  deepgguf sample v3-fp8 v3 --size full --sparse --shards 163 --scatter
"""


_COMPLETION = """\
examples:
  deepgguf completion bash > ~/.local/share/bash-completion/completions/deepgguf
  deepgguf completion zsh > ~/.zfunc/_deepgguf           if ~/.zfunc is in fpath
  deepgguf completion fish > ~/.config/fish/completions/deepgguf.fish
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The parsed arguments, those of the process by default; `run` is the command's function, `line` what was typed.

    Wrong ones end the process with status 2, as argparse has it.
    """
    options, unknown = command_line().parse_known_args(arguments)
    options.line = shlex.join(["deepgguf", *(sys.argv[1:] if arguments is None else arguments)])
    if unknown:
        options.parser.error(answer(unknown, options.parser.prog) or f"unrecognized arguments: {' '.join(unknown)}")
    return options


def command_line() -> argparse.ArgumentParser:
    """The whole command line, of which help, completion and the manual page are made."""
    parser = _Parser(
        prog="deepgguf",
        description="Convert DeepSeek's checkpoints to GGUF for Ollama and llama.cpp, and verify the result.",
        epilog=EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and the kernels' level, and exit")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_convert,
        _add_plan,
        _add_quantize,
        _add_merge,
        _add_split,
        _add_patch,
        _add_doctor,
        _add_inspect,
        _add_verify,
        _add_report,
        _add_sample,
        _add_ollama,
        _add_completion,
    ):
        add(subparsers)
    return parser


# How argparse begins what it says of an argument, and says that it is none of those allowed.
_ARGUMENT = re.compile(r"^argument (?:-\w/)?")
_CHOICES = re.compile(r"invalid choice: (.*) \(choose from (.*)\)")


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one line, as every complaint, and ends with status 2 on a standard error that is full, too."""

    def error(self, message: str) -> NoReturn:
        """What argparse found, in the program's form."""
        found = _CHOICES.sub(r"\1 is unknown, choose from \2", _ARGUMENT.sub("", message))
        complain(f"{printable(found, 1000)}; see `{self.prog} --help`")
        self.exit(2)


class _Version(argparse.Action):
    """Which instructions the kernels use is known when they are imported, so not before it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from deepgguf import kernels

        to_stdout(f"deepgguf {__version__} (kernels: {kernels.active()})\n")
        parser.exit()


def _command(
    subparsers: Any, name: str, run: Callable[[argparse.Namespace], None], help: str, examples: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=help,
        description=help,
        epilog=examples + "\n" + EXIT_STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def _add_what(parser: argparse.ArgumentParser) -> None:
    """Source, output, and what decides the bytes."""
    parser.add_argument(
        "source",
        metavar="SRC",
        help="the checkpoint: a folder, hf:ORGANIZATION/NAME[@REVISION], https://host/folder/ or s3://BUCKET/PREFIX/",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="a file or folder, here or at s3://BUCKET/ (default: NAME-TYPE.gguf in the current folder)",
    )
    _add_cache(parser)
    add_choices(parser, Choices, several=("type", "target"))
    _add_layout(parser, "one folder for all files (for each target, if several), or one for every output")
    for flag, name in SAME.items():
        parser.add_argument(flag, dest=name, help=argparse.SUPPRESS, **(MANY if name == "type" else {}))


def _add_layout(parser: argparse.ArgumentParser, help: str) -> None:
    how: dict[str, Any] = {"choices": ("flat", "folders"), "metavar": "flat|folders"}
    section(parser, "layout").add_argument("--layout", help=f"{help} (default: flat)", **how)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", metavar="DIR", help="keep what is read from hf: and https:// in DIR, as the Hub's cache does"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON on standard output")


def _add_report_flag(parser: argparse._ActionsContainer) -> None:
    help = "also write an HTML page: where the bytes go, bits, errors, types, provenance"
    parser.add_argument("--report", metavar="FILE.html", help=help)


def _add_pages(parser: argparse.ArgumentParser) -> None:
    """What is written beside the files."""
    group = section(parser, "report")
    _add_report_flag(group)
    group.add_argument("--card", action="store_true", help="write README.md, the model card of the output's folder")
    help = "the repository on the Hub that the folder will become, for the model card"
    group.add_argument("--published-as", metavar="ORGANIZATION/NAME", help=help)
    help = "the original's repository, for the model card of a checkpoint that does not come from the Hub"
    group.add_argument("--base-model", metavar="ORGANIZATION/NAME", help=help)


def _add_convert(subparsers: Any) -> None:
    parser = _command(subparsers, "convert", commands.convert, "Convert a checkpoint to GGUF.", _CONVERT)
    _add_what(parser)
    add_choices(parser, RunChoices)
    _add_pages(parser)
    add_executor(parser)
    group = parser.add_argument_group("into Ollama")
    group.add_argument("--ollama", metavar="NAME[:TAG]", help="make this model in Ollama, ready for `ollama run`")
    _add_ollama_choices(group)
    help = "print the Modelfile that goes with the files, and do nothing else"
    group.add_argument("--print-modelfile", action="store_true", help=help)
    _add_json(parser)


def _add_ollama_choices(parser: argparse._ActionsContainer) -> None:
    help = "write into Ollama's store, or send to its server (default: into the store, if possible)"
    parser.add_argument("--ollama-way", choices=("store", "api"), metavar="store|api", help=help)
    help = "a Modelfile to use, without its FROM, instead of the one derived from the model"
    parser.add_argument("--modelfile", metavar="FILE", help=help)


def _add_ollama(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "ollama", help="Bring GGUF files into Ollama.", description="Bring GGUF files into Ollama."
    )
    parser.set_defaults(parser=parser)
    help = "Make a model in Ollama from existing GGUF files."
    below = parser.add_subparsers(required=True, metavar="COMMAND")
    command = _command(below, "import", import_files, help, _IMPORT)
    command.add_argument("files", nargs="+", metavar="FILE.gguf", help="the model, and its mmproj if it has one")
    command.add_argument("name", metavar="NAME[:TAG]", help="the name of the model in Ollama")
    group = command.add_argument_group("into Ollama")
    _add_ollama_choices(group)
    add_choices(command, RunChoices, only=("overwrite",), helps={"overwrite": "replace an existing model"})
    _add_json(command)


def _add_plan(subparsers: Any) -> None:
    parser = _command(subparsers, "plan", commands.plan, "Show what convert would do; nothing is written.", _PLAN)
    _add_what(parser)
    add_choices(parser, RunChoices, only=("jobs",))
    _add_report_flag(parser)
    _add_json(parser)


def _add_quantize(subparsers: Any) -> None:
    help = "Quantize a GGUF file, byte for byte as llama-quantize does."
    parser = _command(subparsers, "quantize", commands.quantize, help, _QUANTIZE)
    parser.usage = "%(prog)s IN.gguf (--type TYPE[,…] | --recipe FILE) [-o OUT] [OPTION …]"
    parser.add_argument("source", metavar="IN.gguf", help=_A_GGUF)
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="a file or folder (default: NAME-TYPE.gguf in the current folder)"
    )
    add_choices(parser, QuantizeChoices, only=CHOICES_OF_QUANTIZE, several=("type",), helps=_OF_QUANTIZE)
    _add_layout(parser, "one folder for all files, or one for every output")
    parser.add_argument("--dry-run", action="store_true", help="show what would be written, and write nothing")
    add_choices(parser, RunChoices)
    _add_pages(parser)
    add_executor(parser)
    _add_json(parser)


def _add_copy(
    subparsers: Any, name: str, run: Callable[[argparse.Namespace], None], about: tuple[str, str], output: str
) -> Any:
    """A command that copies the tensors of a GGUF file as they are; `output` says what -o names."""
    parser = _command(subparsers, name, run, *about)
    parser.add_argument("source", metavar="IN.gguf", help=_A_GGUF)
    parser.add_argument("-o", "--output", metavar="OUT", help=output)
    add_choices(parser, RunChoices, only=("jobs", "overwrite", "resume", "restart", "manifest", "sha256"))
    _add_json(parser)
    return parser


def _add_merge(subparsers: Any) -> None:
    help = "Join a split set into one GGUF file, as llama-gguf-split does."
    _add_copy(
        subparsers,
        "merge",
        gguf_commands.merge,
        (help, _MERGE),
        "a file or folder (default: NAME.gguf in the current folder)",
    )


def _add_split(subparsers: Any) -> None:
    help = "Split a GGUF file, or a set differently, as llama-gguf-split does."
    output = "a folder, or NAME.gguf for NAME-00001-of-00002.gguf and so on (default: in the current folder)"
    parser = _add_copy(subparsers, "split", gguf_commands.split, (help, _SPLIT), output)
    add_choices(parser, Choices, only=("split_max_size", "split_max_tensors"))
    group, help = section(parser, "no_tensor_first_split"), "write a first file of keys only"
    group.add_argument("--no-tensor-first-split", action="store_true", help=help)


def _add_patch(subparsers: Any) -> None:
    help = "Change keys of a GGUF file, in place or in a new file; weights stay the same."
    output = "a new file, or a folder for one (default: the header is replaced in place)"
    parser = _add_copy(subparsers, "patch", gguf_commands.patch, (help, _PATCH), output)
    group = parser.add_argument_group("what is changed")
    add_choices(group, PatchChoices)
    group.add_argument("--undo", action="store_true", help="restore the header that a patch in place replaced")


def _add_doctor(subparsers: Any) -> None:
    help = "Say what an engine would stumble over in a GGUF file, and how to mend it."
    parser = _command(subparsers, "doctor", gguf_commands.doctor, help, _DOCTOR)
    parser.add_argument("file", metavar="FILE.gguf", help=_A_GGUF)
    _add_json(parser)


def _add_inspect(subparsers: Any) -> None:
    parser = _command(subparsers, "inspect", commands.inspect, "Show what a GGUF file holds.", _INSPECT)
    parser.add_argument("file", metavar="FILE.gguf", help="a GGUF file, or any file of a split set")
    parser.add_argument("--tensors", action="store_true", help="list every tensor on a line of its own")
    _add_report_flag(parser)
    _add_json(parser)


def _add_verify(subparsers: Any) -> None:
    help = "Check a GGUF file, alone or against its source."
    parser = _command(subparsers, "verify", commands.verify, help, _VERIFY)
    parser.add_argument("file", metavar="FILE.gguf", help="a GGUF file, or any file of a split set")
    help = "the checkpoint or the GGUF file that it was made from, wherever it is"
    parser.add_argument("source", metavar="SRC", nargs="?", help=help)
    checks = parser.add_argument_group("what is checked")
    checks.add_argument("--parts", action="store_true", help="first check that all files of the set have been made")
    checks.add_argument("--remake", action="store_true", help="make every piece again from SRC, and compare bytes")
    add_choices(checks, RunChoices, only=("sha256",))
    _add_cache(parser)
    add_choices(parser, RunChoices, only=("jobs",))
    _add_report_flag(parser)
    add_executor(parser)
    _add_json(parser)
    title = "how the file was made (only if neither it nor its manifest says so)"
    add_choices(parser.add_argument_group(title), Choices, only=CHOICES_OF_A_FILE, defaults=False)


def _add_report(subparsers: Any) -> None:
    help = "Write an HTML page about a GGUF file, or one that compares two models."
    parser = _command(subparsers, "report", pages.report, help, _REPORT)
    help = "a GGUF file, or any file of a split set; to compare, two files, or pages made by --report"
    parser.add_argument("files", nargs="+", metavar="FILE", help=help)
    parser.add_argument("-o", "--output", metavar="FILE.html", help="the page (default: NAME.html in this folder)")


def _add_sample(subparsers: Any) -> None:
    help = "Make a checkpoint with real structure and made-up weights."
    parser = _command(subparsers, "sample", commands.sample, help, _SAMPLE)
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("folder", metavar="DIR", help="a folder that does not exist or is empty")
    parser.add_argument(
        "--size",
        default="sample",
        metavar="SIZE",
        help="sample (a few MB), bench (a few GB), full (as released), flash, pro",
    )
    parser.add_argument("--shards", type=whole_number("shards"), default=1, metavar="N", help="number of files")
    parser.add_argument("--scatter", action="store_true", help="put scales in different shards from their weights")
    parser.add_argument("--sparse", action="store_true", help="real headers, holes instead of weights: for `plan`")
    parser.add_argument("--tokenizer", metavar="DIR", help="take tokenizer.json and tokenizer_config.json from DIR")
    _add_json(parser)


def _add_completion(subparsers: Any) -> None:
    help = "Print a completion script for a shell."
    parser = _command(subparsers, "completion", completion, help, _COMPLETION)
    parser.set_defaults(command_line=command_line)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
