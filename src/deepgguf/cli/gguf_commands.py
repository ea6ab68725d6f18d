"""The commands that make GGUF files of GGUF files without touching weights; as in `commands`."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from deepgguf.choices import RunChoices
from deepgguf.cli.flags import given
from deepgguf.cli.output import print_json, to_stdout
from deepgguf.errors import printable

if TYPE_CHECKING:
    from deepgguf.run.result import Report


def merge(options: argparse.Namespace) -> None:
    """`deepgguf merge`."""
    from deepgguf import api

    _copy(options, api.merge)


def split(options: argparse.Namespace) -> None:
    """`deepgguf split`."""
    from deepgguf import api

    limits = ("split_max_size", "split_max_tensors", "no_tensor_first_split")
    _copy(options, api.split, **{name: getattr(options, name) for name in limits})


def _copy(options: argparse.Namespace, make: "Callable[..., Report]", **how: object) -> None:
    from deepgguf.formats.gguf.split_set import read_split_set
    from deepgguf.terminal.progress import progress_of

    total = sum(tensor.nbytes for header in read_split_set(options.source) for tensor in header.tensors)
    with progress_of(total, printable(options.source)) as progress:
        report = make(options.source, options.output, progress=progress, **how, **given(options, RunChoices))
    if options.json:
        print_json({"files": [{"path": str(file.path), "size": file.size} for file in report.files]})
        return
    to_stdout("".join(f"wrote {printable(file.path)}  {file.size:,} bytes\n" for file in report.files))
