"""The commands that make GGUF files of GGUF files without touching weights; as in `commands`."""

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import deepgguf
from deepgguf.choices import PatchChoices, RunChoices
from deepgguf.cli.flags import flag_of, given, in_flags
from deepgguf.cli.output import print_json, to_stdout
from deepgguf.errors import UsageError, printable

if TYPE_CHECKING:
    from deepgguf.run.result import Report


def merge(options: argparse.Namespace) -> None:
    """`deepgguf merge`."""
    _copy(options, deepgguf.merge)


def split(options: argparse.Namespace) -> None:
    """`deepgguf split`."""
    limits = ("split_max_size", "split_max_tensors", "no_tensor_first_split")
    _copy(options, deepgguf.split, **{name: getattr(options, name) for name in limits})


def patch(options: argparse.Namespace) -> None:
    """`deepgguf patch`."""
    choices = given(options, PatchChoices) | given(options, RunChoices)
    if options.undo:
        if choices or options.output:
            raise UsageError("`undo`", "restores the old header and does nothing else", "leave the other choices out")
        deepgguf.undo_patch(options.source)
        to_stdout(f"{printable(options.source)}: has its old header again\n")
        return
    made = deepgguf.patch(options.source, options.output, **choices)
    if options.json:
        undo = str(made.undo) if made.undo else None
        found = [str(file.path) for file in made.report.files if file.found] if made.report else []
        files = {"files": [str(path) for path in made.files], **({"found": found} if found else {})}
        print_json(files | {"keys": made.keys, "undo": undo})
        return
    lines = _file_lines(made.report) if made.report else [f"wrote {printable(path)}" for path in made.files]
    lines += [f"changed {printable(key)}" for key in made.keys]
    lines += [f"the old header is in {printable(made.undo)}; bring it back with --undo"] if made.undo else []
    to_stdout("".join(f"{line}\n" for line in lines))


def doctor(options: argparse.Namespace) -> None:
    """`deepgguf doctor`."""
    found = deepgguf.doctor(options.file)
    if options.json:
        print_json(found)
        return
    name = printable(options.file)
    if not found:
        to_stdout(f"{name}: nothing that an engine would stumble over was found\n")
    for finding in found:
        mend = _patch(name, finding.mend) if finding.mend else in_flags(finding.advice)
        to_stdout(f"{printable(finding.found, 1000)}\n  mend it: {mend}\n")


def _patch(name: str, mend: "Mapping[str, Sequence[str]]") -> str:
    """The command line that mends the file, in place where that can be."""
    from deepgguf.files.find import is_address

    words = [word for name, values in mend.items() for value in values or ("",) for word in (flag_of(name), value)]
    new = ["-o", "mended.gguf"] if "split_kv_b" in mend or is_address(name) else []
    return " ".join(shlex.quote(word) for word in ("deepgguf", "patch", name, *words, *new) if word)


def _copy(options: argparse.Namespace, make: "Callable[..., Report]", **how: object) -> None:
    from deepgguf.formats.gguf.split_set import read_split_set
    from deepgguf.terminal.progress import progress_of

    total = sum(tensor.nbytes for header in read_split_set(options.source) for tensor in header.tensors)
    with progress_of(total, printable(options.source)) as progress:
        report = make(options.source, options.output, progress=progress, **how, **given(options, RunChoices))
    if options.json:
        found = {"found": True}
        files = [{"path": str(file.path), "size": file.size, **(found if file.found else {})} for file in report.files]
        print_json({"files": files})
        return
    to_stdout("".join(f"{line}\n" for line in _file_lines(report)))


def _file_lines(report: "Report") -> list[str]:
    from deepgguf.terminal.summary import file_line

    return [file_line(file).plain for file in report.files]
